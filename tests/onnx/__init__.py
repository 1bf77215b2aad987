"""A third framework, which Google Distributed Cloud does not serve: it shows that a framework is a folder and a line."""
