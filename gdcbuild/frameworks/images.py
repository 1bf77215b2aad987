"""The serving containers gdcbuild knows, listed in images.json next to this file. A manifest can add its own."""

from __future__ import annotations

import json
from pathlib import Path

from gdcbuild.core.graph import Image


def known() -> dict[str, Image]:
    """Image name → image."""
    rows = json.loads((Path(__file__).parent / "images.json").read_text())["images"]
    return {row["name"]: Image(row["name"], row["kind"], row["version"], row.get("deprecated", False)) for row in rows}
