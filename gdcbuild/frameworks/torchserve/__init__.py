"""PyTorch: TorchServe archives, `model.mar`."""
