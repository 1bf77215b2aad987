"""What a workspace says: its versions, its environments, the graph, and the verdict on every action of it."""
