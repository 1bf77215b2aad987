"""Reads how archives have been made and published until now: command lines of torch-model-archiver, and lists of models."""
