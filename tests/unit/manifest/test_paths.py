"""Paths and globs: which files they name, where these are placed in an action's folder, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdcbuild.errors import Location, ManifestError
from gdcbuild.manifest.paths import Paths, lay

HERE = Location("f", 1, 1)
FILES = [
    "a.py",
    "b.py",
    "b.txt",
    "f/foo1",
    "f/foo2/y",
    "f/[",
    "f/^x",
    "f/!x",
    "f/]",
    "d/a.py",
    "d/e/a.py",
    "d/e/b.py",
    "d/.hidden/c.py",
    "d/__pycache__/a.pyc",
    "[x].py",
    "ü.py",
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for name in FILES:
        (tmp_path / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "w" / name).write_text(name)
    (tmp_path / "outside.py").write_text("")
    return Paths(tmp_path / "w")


@pytest.mark.parametrize(
    ("folder", "pattern", "found"),
    [
        ("", "*.py", ["[x].py", "a.py", "b.py", "ü.py"]),
        ("", "?.py", ["a.py", "b.py", "ü.py"]),
        ("", "[ab].py", ["a.py", "b.py"]),
        ("", "[!a].py", ["b.py", "ü.py"]),
        ("", "**/a.py", ["a.py", "d/a.py", "d/e/a.py"]),
        ("", "d/**/*.py", ["d/.hidden/c.py", "d/a.py", "d/e/a.py", "d/e/b.py"]),
        ("", "d/**", ["d/.hidden/c.py", "d/a.py", "d/e/a.py", "d/e/b.py"]),
        ("", "*/a.py", ["d/a.py"]),
        ("", "f/foo**", ["f/foo1"]),
        ("", "f/foo?/**", ["f/foo2/y"]),
        ("", "f/[[]", ["f/["]),
        ("", "f/[]]", ["f/]"]),
        ("", "f/[!]]", ["f/["]),
        ("", "f/[!a-z]x", ["f/!x", "f/^x"]),
        ("", "f/[a^]x", ["f/^x"]),
        ("d", "*.py", ["d/a.py"]),
        ("d", "../*.txt", ["b.txt"]),
        ("d/e", "a.py", ["d/e/a.py"]),
        ("", "./d/../a.py", ["a.py"]),
    ],
)
def test_globs(paths: Paths, folder: str, pattern: str, found: list[str]) -> None:
    assert paths.expand(folder, pattern, HERE) == found


def test_folders(paths: Paths) -> None:
    assert paths.folder("", "d/e/", HERE) == ["d/e/a.py", "d/e/b.py"]
    assert "d/__pycache__/a.pyc" not in paths.folder("", "d", HERE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../outside.py", "points outside the workspace"),
        ("d/../../outside.py", "points outside the workspace"),
        ("/etc/passwd", "is an absolute path"),
        ("~/x", "is an absolute path"),
        ("a\\b", "has a backslash"),
        ("C:/a.py", "is an absolute path"),
        ("C:\\a.py", "is an absolute path"),
        ("s3://a/b.py", "is a URL"),
        ("a/" * 2100 + "b", "is too long"),
        ("a\x7f", "control character"),
        ("a\nb", "control character"),
        ("d", "is a folder"),
        ("d/", "is a folder"),
        ("c.py", "there is no file"),
        ("*.md", "matches no file"),
        ("nowhere/*.py", "matches no file"),
        ("../**", "points outside the workspace"),
        ("link.py", "is a symlink that points outside the workspace"),
        ("dangling.py", "is a broken symlink"),
        ("pipe", "neither a file nor a folder"),
        ("out/outside.py", "is a symlink that points outside the workspace"),
        ("out/*.py", "is a symlink that points outside the workspace"),
        ("x" * 5000, "is too long"),
        ("x" * 5000 + "/*", "is too long"),
        ("[z-a].py", "is not a valid glob"),
        ("d[!x]a.py", "matches no file"),
        ("[!]", "matches no file"),
        ("round", "is a broken symlink"),
        ("round*", "cannot be read"),
    ],
)
def test_what_is_refused(paths: Paths, text: str, message: str) -> None:
    (paths.root / "link.py").symlink_to("../outside.py")
    (paths.root / "dangling.py").symlink_to("nothing")
    (paths.root / "out").symlink_to("..")
    os.mkfifo(paths.root / "pipe")
    (paths.root / "round").symlink_to("round")
    with pytest.raises(ManifestError) as caught:
        paths.expand("", text, HERE)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.where == HERE
    assert problem.hint


def test_symlinks_within_the_workspace_are_followed(paths: Paths) -> None:
    (paths.root / "d/link.py").symlink_to("../a.py")
    (paths.root / "loop").symlink_to(".")
    assert paths.expand("", "d/link.py", HERE) == ["d/link.py"]
    assert paths.expand("", "**/b.txt", HERE) == ["b.txt"], "folders behind links are not entered"


def test_a_folder_with_a_symlink_that_points_outside(paths: Paths) -> None:
    (paths.root / "d/e/link.py").symlink_to("../../../outside.py")
    with pytest.raises(ManifestError, match="points outside the workspace"):
        paths.folder("", "d", HERE)


@pytest.mark.parametrize("pattern", ["d/**", "d/**/*", "**"])
def test_a_symlink_to_a_folder_is_refused(paths: Paths, pattern: str) -> None:
    (paths.root / "d/e/link").symlink_to("../../f")
    with pytest.raises(ManifestError, match="'d/e/link' is a symlink to the folder 'f'"):
        paths.expand("", pattern, HERE)
    with pytest.raises(ManifestError, match="remove the link, or put the folder itself there"):
        paths.folder("", "d", HERE)
    with pytest.raises(ManifestError, match=r"{from: \.\./f/, to: x/e/link/}"):
        paths.folder("d", ".", HERE, "x/")


def test_a_symlink_into_its_own_folder_does_not_loop(paths: Paths) -> None:
    (paths.root / "d/e/link").symlink_to("..")
    with pytest.raises(ManifestError, match="'d/e/link' is a symlink to the folder 'd'") as caught:
        paths.folder("", "d", HERE, "./")
    assert "another entry" not in str(caught.value)


def test_a_symlink_to_a_folder_is_watched(paths: Paths) -> None:
    """It may later point to a file without a change of its folder."""
    (paths.root / "d/link.py").symlink_to("../f")
    with paths.watched() as looked:
        assert paths.expand("", "d/*.py", HERE) == ["d/a.py"]
    assert {"d", "d/link.py"} <= looked


def test_entries_that_a_glob_does_not_match_are_ignored(paths: Paths) -> None:
    """Such as a virtual environment, whose python is a symlink that points outside the workspace."""
    (paths.root / ".venv/bin").mkdir(parents=True)
    (paths.root / ".venv/bin/python").symlink_to("/usr/bin/env")
    (paths.root / "d/dangling.txt").symlink_to("nothing")
    os.mkfifo(paths.root / "pipe")
    assert paths.expand("", "*.txt", HERE) == ["b.txt"]
    assert paths.expand("", "**/a.py", HERE) == ["a.py", "d/a.py", "d/e/a.py"]


@pytest.mark.parametrize("name", [b"\xff.py", b"line\nfeed.py", b"\x7f.py"])
def test_names_that_are_not_utf_8_are_refused(paths: Paths, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(paths.root / "d") + b"/" + name)).write_text("")
    with pytest.raises(ManifestError, match="has a control character or is not UTF-8"):
        paths.folder("", "d", HERE)


@pytest.mark.parametrize(
    ("folder", "files", "cwd", "places"),
    [
        ("", ["a", "d/b"], "", ["a", "d/b"]),
        ("m", ["m/a", "m/d/b"], "", ["a", "d/b"]),
        ("m/n", ["m/n/a", "m/b"], "n", ["n/a", "b"]),
        ("m/n", ["m/n/a", "c"], "m/n", ["m/n/a", "c"]),
        ("m", [], "", []),
    ],
)
def test_where_files_are_placed_in_an_actions_folder(folder: str, files: list[str], cwd: str, places: list[str]) -> None:
    assert lay(folder, files) == (cwd, dict(zip(files, places, strict=True)))


def test_the_root_folder_can_be_a_workspace() -> None:
    """In a container, the manifest may be in /."""
    assert Paths(Path("/")).file("", "etc/passwd", HERE) == "etc/passwd"


ANNEXED = ".git/annex/objects/Jx/G2/SHA256E-s1--0/SHA256E-s1--0"


@pytest.mark.parametrize(
    ("call", "text", "message", "hint"),
    [
        ("file", "w.pt", "there is no file 'w.pt'", "fetch it: dvc pull w.pt.dvc"),
        ("file", "data/deep/x.pt", "there is no file 'data/deep/x.pt'", "fetch it: dvc pull data.dvc"),
        ("folder", "data", "there is no file 'data'", "fetch it: dvc pull data.dvc"),
        ("expand", "data/**/*.pt", "'data/**/*.pt' matches no file", "fetch it: dvc pull data.dvc"),
        ("expand", "*.pt", "'w.pt' has not been fetched", "fetch it: dvc pull w.pt.dvc"),
        ("file", "annexed.pth", "'annexed.pth' is a broken symlink", "fetch it: git annex get annexed.pth"),
        ("expand", "*.pth", "'annexed.pth' is a broken symlink", "fetch it: git annex get annexed.pth"),
        ("file", "lost.pth", "'lost.pth' is a broken symlink", "correct the link, or remove it"),
    ],
)
def test_hints_to_fetch_a_file(paths: Paths, call: str, text: str, message: str, hint: str) -> None:
    for name in ("w.pt.dvc", "other.pt", "data.dvc"):
        (paths.root / name).write_text("")
    (paths.root / "annexed.pth").symlink_to(ANNEXED)
    if text == "lost.pth":
        (paths.root / "lost.pth").symlink_to("nowhere")
    with pytest.raises(ManifestError) as caught:
        getattr(paths, call)("", text, HERE)
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == (message, hint)


def test_a_link_into_annex_outside_the_workspace_is_to_be_fetched(paths: Paths) -> None:
    """If the workspace is a folder of a repository, the link points above it."""
    (paths.root / "d/w.pt").symlink_to(f"../../{ANNEXED}")
    with pytest.raises(ManifestError, match=r"git annex get d/w\.pt"):
        paths.folder("", "d", HERE)


def test_a_fetched_file_is_found_beside_its_dvc_file(paths: Paths) -> None:
    for name in ("w.pt.dvc", "w.pt"):
        (paths.root / name).write_text("")
    assert paths.expand("", "*.pt", HERE) == ["w.pt"]
    assert paths.expand("", "w.*", HERE) == ["w.pt", "w.pt.dvc"]
