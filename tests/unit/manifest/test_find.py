"""Which manifest is the root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdcbuild.errors import ManifestError, UsageError
from gdcbuild.manifest.find import find


@pytest.fixture
def below(tmp_path: Path) -> Path:
    (tmp_path / "gdcbuild.yaml").write_text("schema: 1\n")
    (tmp_path / "models" / "m").mkdir(parents=True)
    return tmp_path / "models" / "m"


def test_the_nearest_above(below: Path) -> None:
    assert find(below, None, {}) == (below.parent.parent / "gdcbuild.yaml", "")


def test_a_manifest_of_another_user_in_a_parent_folder_is_refused(below: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = below.parent.parent
    if os.geteuid() == 0:
        os.chown(root / "gdcbuild.yaml", 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: below.stat().st_uid + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        find(below, None, {})
    assert find(root, None, {}) == (root / "gdcbuild.yaml", ""), "whoever is there has chosen it"
    assert find(below, "../../gdcbuild.yaml", {}) == (root / "gdcbuild.yaml", ""), "whoever names it has"


def test_a_linked_manifest_counts_where_its_link_is(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text("schema: 1\n")
    (tmp_path / "workspace").mkdir()
    link = tmp_path / "workspace" / "gdcbuild.yaml"
    link.symlink_to(tmp_path / "shared.yaml")
    assert find(link.parent, None, {}) == find(link.parent, "gdcbuild.yaml", {}) == (link, "")


MEMBER = "models/m/gdcbuild.yaml"


@pytest.mark.parametrize(
    ("include", "covered"),
    [
        (f"[{MEMBER}]", True),
        ("[./models/*/gdcbuild.yaml]", True),
        ("[models/**/gdcbuild.yaml]", True),
        ("['${vars.all}/gdcbuild.yaml']", True),
        ("['${env.PART}/m/gdcbuild.yaml']", True),
        ("[models/*.yaml, other/gdcbuild.yaml]", False),
        ("['models/[z-a]/gdcbuild.yaml']", False),
        ("[]", False),
        ("models/m/gdcbuild.yaml", False),
    ],
)
@pytest.mark.parametrize("deeper", ["", "src/net"])
def test_the_root_is_what_includes_the_nearest(below: Path, include: str, covered: bool, deeper: str) -> None:
    root, member = below.parent.parent / "gdcbuild.yaml", below / "gdcbuild.yaml"
    root.write_text(f"schema: 1\nvars: {{all: models/*}}\ninclude: {include}\n")
    member.write_text("schema: 1\n")
    (below / deeper).mkdir(parents=True, exist_ok=True)
    found = find(below / deeper, None, {"PART": "models"})
    assert found == ((root, "models/m/") if covered else (member, ""))
    assert find(below, "gdcbuild.yaml", {}) == (member, "")


def test_a_root_above_a_root(below: Path) -> None:
    """Each includes the next; manifests in between that include neither do not matter."""
    (below.parent.parent / "gdcbuild.yaml").write_text("schema: 1\ninclude: [models/m/gdcbuild.yaml]\n")
    (below.parent / "gdcbuild.yaml").write_text("schema: 1\n")
    (below / "gdcbuild.yaml").write_text("schema: 1\ninclude: [net/gdcbuild.yaml]\n")
    (below / "net").mkdir()
    (below / "net/gdcbuild.yaml").write_text("schema: 1\n")
    assert find(below / "net", None, {}) == (below.parent.parent / "gdcbuild.yaml", "models/m/net/")


def test_a_root_of_another_user_is_refused(below: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = below.parent.parent / "gdcbuild.yaml"
    root.write_text("schema: 1\ninclude: ['**/gdcbuild.yaml']\n")
    (below / "gdcbuild.yaml").write_text("schema: 1\n")
    if os.geteuid() == 0:
        os.chown(root, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: below.stat().st_uid + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        find(below, None, {})
    root.write_text("schema: 1\n")
    assert find(below, None, {}) == (below / "gdcbuild.yaml", ""), "one that includes nothing here is nobody's affair"


def test_a_manifest_above_that_cannot_be_read_may_be_the_root(below: Path) -> None:
    (below.parent.parent / "gdcbuild.yaml").write_text("schema: 1\ninclude: [\n")
    (below / "gdcbuild.yaml").write_text("schema: 1\n")
    with pytest.raises(ManifestError, match="not valid YAML"):
        find(below, None, {})
