"""A workspace: its versions, its environments, its graph, and the verdict on every action."""
