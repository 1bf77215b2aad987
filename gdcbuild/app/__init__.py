"""The composition root: the only part that names concrete classes. Wires the others into a Project."""
