"""A source that remembers: what has not changed since the last run is not read again. Nothing but speed depends on it."""
