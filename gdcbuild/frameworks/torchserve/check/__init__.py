"""Would TorchServe load and run this archive? Judged by reading it: nothing is imported, run or unpickled."""
