"""A TorchServe handler for a `torch.export` program, which BaseHandler cannot load."""

from pathlib import Path
from typing import Any

import torch
from digits import DigitsHandler


class ProgramHandler(DigitsHandler):
    """Requests and answers are DigitsHandler's."""

    def initialize(self, context: Any) -> None:
        folder, file = context.system_properties["model_dir"], context.manifest["model"]["serializedFile"]
        self.device = torch.device("cpu")
        self.model = torch.export.load(Path(folder, file)).module()
        self.initialized = True
