"""Which manifest is the root's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdcbuild.errors import UsageError
from gdcbuild.manifest.find import find


@pytest.fixture
def below(tmp_path: Path) -> Path:
    (tmp_path / "gdcbuild.yaml").write_text("schema: 1\n")
    (tmp_path / "models" / "m").mkdir(parents=True)
    return tmp_path / "models" / "m"


def test_the_nearest_above(below: Path) -> None:
    assert find(below, None) == below.parent.parent / "gdcbuild.yaml"


def test_a_strangers_above_is_not_obeyed(below: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = below.parent.parent
    if os.geteuid() == 0:
        os.chown(root / "gdcbuild.yaml", 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: below.stat().st_uid + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        find(below, None)
    assert find(root, None) == root / "gdcbuild.yaml", "whoever is there has chosen it"
    assert find(below, "../../gdcbuild.yaml") == root / "gdcbuild.yaml", "whoever names it has"


def test_a_linked_manifest_is_where_its_link_is(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text("schema: 1\n")
    (tmp_path / "workspace").mkdir()
    link = tmp_path / "workspace" / "gdcbuild.yaml"
    link.symlink_to(tmp_path / "shared.yaml")
    assert find(link.parent, None) == find(link.parent, "gdcbuild.yaml") == link
