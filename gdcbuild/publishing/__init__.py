"""The bucket: what a version is in it, and how to write one so that no server ever loads half of it."""
