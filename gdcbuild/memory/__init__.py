"""A source that skips reading what has not changed since the last run. Only speed depends on it."""
