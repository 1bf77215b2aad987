"""Check whether TorchServe would load and run an archive. Only reads it: imports, runs and unpickles nothing."""
