"""The composition root: wires concrete classes into a Project."""
