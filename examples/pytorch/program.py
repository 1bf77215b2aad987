"""The trained network as a program that needs no source file: a graph, for any number of images at once."""

import torch
from net import trained


def exported() -> torch.export.ExportedProgram:
    images = torch.zeros(2, 64)
    return torch.export.export(trained(), (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
