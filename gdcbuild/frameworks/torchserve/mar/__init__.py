"""Pack `model.mar`; read and repack existing archives. Knows the zip format and torch-model-archiver."""
