"""Archives: `model.mar` is packed, an existing one is read and repacked. Knows the zip format and the archiver."""
