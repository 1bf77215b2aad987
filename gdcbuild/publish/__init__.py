"""The bucket: what a version is in it, and how one is written so that no server ever loads half of it."""
