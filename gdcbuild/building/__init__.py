"""From a graph to artifacts: judge every action by its key, run what has no result, in the right order."""
