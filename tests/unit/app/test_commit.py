"""Which files match a commit: compared with real repositories, independent of git status."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gdcbuild.app.commit import checkout
from gdcbuild.core.digest import Digest
from gdcbuild.core.seal import Checkout
from gdcbuild.errors import Problem

WHO = {f"GIT_{role}_{what}": "someone" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ALONE = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "1"}
LOCAL = {"GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
FILES = {"gdcbuild.yaml": "schema: 1\n", "net.py": "x = 1\n", "lib/net.py": "x = 2\n"}


class Repo:
    """A repository with a workspace in it, `folder` below its root."""

    def __init__(self, root: Path, folder: str = "", files: dict[str, str] = FILES) -> None:
        self.top = root
        self.root = root / folder
        self.root.mkdir(parents=True, exist_ok=True)
        self.told: list[Problem] = []
        self.git("init", "-q")
        self.write(files)
        self.commit()

    def git(self, *arguments: str, at: str = ".") -> str:
        env = {**os.environ, **WHO, **ALONE, **LOCAL}
        done = subprocess.run(["git", *arguments], cwd=self.top / at, env=env, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, at: str = ".") -> str:
        self.git("add", "-A", at=at)
        self.git("commit", "-q", "--allow-empty", "-m", "more", at=at)
        return self.git("rev-parse", "HEAD", at=at)

    def write(self, files: dict[str, str]) -> None:
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(text.encode())

    def checkout(self, *paths: str, manifest: str = "gdcbuild.yaml", digests: Mapping[str, Digest] | None = None) -> Checkout:
        used = {path: Digest.of((self.root / path).read_bytes()) for path in paths} | dict(digests or {})
        variables = {"PATH": os.environ["PATH"], **ALONE, **LOCAL}
        return checkout(self.root / manifest, used, variables, self.told.append)

    def uncommitted(self, *paths: str) -> list[str]:
        found = self.checkout(*paths)
        assert found.commit == self.git("rev-parse", "HEAD")
        assert self.told == []
        return found.uncommitted({path: Digest.of((self.root / path).read_bytes()) for path in paths})


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


@pytest.mark.parametrize("folder", ["", "deep/below"])
def test_committed_and_uncommitted_files(tmp_path: Path, folder: str) -> None:
    repo = Repo(tmp_path, folder)
    assert repo.uncommitted(*FILES) == []
    repo.write({"net.py": "x = 3\n", "weights.pt": "new"})
    assert repo.uncommitted(*FILES, "weights.pt") == ["net.py", "weights.pt"]
    repo.git("add", "-A")
    assert repo.uncommitted(*FILES, "weights.pt") == ["net.py", "weights.pt"], "staged is not committed"
    repo.commit()
    assert repo.uncommitted(*FILES, "weights.pt") == []


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_an_edit_that_the_index_hides(repo: Repo, flag: str) -> None:
    repo.git("update-index", flag, "net.py")
    assert repo.uncommitted("net.py") == []
    repo.write({"net.py": "x = 3\n"})
    assert repo.git("status", "--porcelain") == ""
    assert repo.uncommitted("net.py") == ["net.py"]


def test_an_edit_that_a_racy_index_hides(repo: Repo) -> None:
    repo.git("config", "core.trustctime", "false")
    repo.git("config", "core.checkStat", "minimal")
    before = (repo.root / "net.py").stat()
    os.utime(repo.root / "net.py", (1, 1))
    repo.git("update-index", "--refresh")
    repo.write({"net.py": "y = 1\n"})
    os.utime(repo.root / "net.py", (1, 1))
    assert before.st_size == (repo.root / "net.py").stat().st_size
    assert repo.git("status", "--porcelain") == ""
    assert repo.uncommitted("net.py") == ["net.py"]


def test_a_submodule_counts_at_its_recorded_commit(repo: Repo, tmp_path: Path) -> None:
    inner = Repo(tmp_path / "inner", files={"a.py": "1\n"})
    middle = Repo(tmp_path / "middle", files={"b.py": "2\n"})
    middle.git("submodule", "add", "-q", str(inner.top), "inner")
    middle.commit()
    repo.git("submodule", "add", "-q", str(middle.top), "vendor")
    repo.git("submodule", "update", "-q", "--init", "--recursive")
    repo.commit()
    both = ("vendor/b.py", "vendor/inner/a.py")
    assert repo.uncommitted(*both) == []
    repo.write({"vendor/inner/a.py": "9\n"})
    assert repo.uncommitted(*both) == ["vendor/inner/a.py"]
    repo.git("config", "user.name", "x", at="vendor/inner")
    repo.commit(at="vendor/inner")
    assert repo.uncommitted(*both) == ["vendor/inner/a.py"], "committed there, and not recorded here"
    repo.commit(at="vendor")
    assert repo.uncommitted(*both) == ["vendor/inner/a.py"]
    repo.commit()
    assert repo.uncommitted(*both) == []
    repo.git("config", "submodule.vendor.ignore", "all")
    repo.write({"vendor/b.py": "9\n"})
    assert repo.git("status", "--porcelain") == ""
    assert repo.uncommitted(*both) == ["vendor/b.py"]


def test_a_submodule_that_is_not_checked_out_has_no_files(repo: Repo, tmp_path: Path) -> None:
    inner = Repo(tmp_path / "inner", files={"a.py": "1\n"})
    repo.git("submodule", "add", "-q", str(inner.top), "vendor")
    repo.commit()
    repo.git("submodule", "deinit", "-q", "-f", "vendor")
    repo.write({"vendor/a.py": "1\n"})
    assert repo.uncommitted("vendor/a.py", "net.py") == ["vendor/a.py"]


def test_a_nested_repository_is_not_part_of_our_commit(repo: Repo) -> None:
    repo.write({".gitignore": "other\n", "other/a.py": "1\n"})
    repo.commit()
    repo.git("init", "-q", at="other")
    repo.commit(at="other")
    assert repo.uncommitted("other/a.py") == ["other/a.py"]


def eol_attribute(repo: Repo) -> None:
    repo.write({".gitattributes": "*.py text eol=crlf\n"})


def autocrlf(repo: Repo) -> None:
    repo.git("config", "core.autocrlf", "true")


def encoding(repo: Repo) -> None:
    repo.write({".gitattributes": "*.py working-tree-encoding=UTF-16LE eol=lf\n"})


def own_filter(repo: Repo) -> None:
    repo.write({".gitattributes": "*.py filter=rot\n"})
    repo.git("config", "filter.rot.clean", "tr a-y b-z")
    repo.git("config", "filter.rot.smudge", "tr b-z a-y")


@pytest.mark.parametrize("convert", [eol_attribute, autocrlf, encoding, own_filter])
def test_a_converted_file_is_committed_until_it_is_edited(repo: Repo, convert: Callable[[Repo], None]) -> None:
    convert(repo)
    repo.git("rm", "-q", "--cached", "net.py", "lib/net.py")
    if convert is encoding:
        (repo.root / "net.py").write_bytes("x = 1\n".encode("utf-16-le"))
        (repo.root / "lib/net.py").write_bytes("x = 2\n".encode("utf-16-le"))
    repo.commit()
    for name in ("net.py", "lib/net.py"):
        (repo.root / name).unlink()
    repo.git("checkout", "-q", "--", ".")
    data = (repo.root / "net.py").read_bytes()
    assert hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest() != repo.git("rev-parse", "HEAD:net.py")
    assert repo.uncommitted("net.py", "lib/net.py") == []
    (repo.root / "lib/net.py").write_bytes(data + data)
    assert repo.uncommitted("net.py", "lib/net.py") == ["lib/net.py"]


def test_an_uncommitted_conversion_does_not_count(repo: Repo) -> None:
    repo.write({".gitattributes": "*.py text eol=crlf\n"})
    for name in ("net.py", "lib/net.py"):
        (repo.root / name).write_bytes((repo.root / name).read_bytes().replace(b"\n", b"\r\n"))
    assert repo.git("diff", "--", "net.py") == ""
    assert repo.uncommitted("net.py") == ["net.py"]
    repo.git("add", ".gitattributes")
    repo.git("commit", "-q", "-m", "attributes")
    assert repo.uncommitted("net.py") == []


def test_an_edit_that_a_filter_hides(repo: Repo) -> None:
    """Such as a filter that strips notebook output: git calls the file unchanged, but its bytes differ."""
    repo.write({".gitattributes": "*.py filter=strip\n"})
    repo.git("config", "filter.strip.clean", "grep -v printed || true")
    repo.commit()
    repo.write({"net.py": "x = 1\n# printed\n"})
    repo.git("add", "-A")
    assert repo.git("status", "--porcelain") == ""
    assert repo.uncommitted("net.py", "lib/net.py") == ["net.py"]


def pointer(data: bytes) -> str:
    oid = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n"


def test_the_pointer_of_git_lfs_names_what_was_committed(repo: Repo) -> None:
    """No filter is run: it would download the file from a server."""
    repo.write({".gitattributes": "*.pt filter=lfs\n", "w.pt": pointer(b"weights")})
    repo.git("config", "filter.lfs.smudge", f"touch {repo.top}/ran; cat")
    repo.git("-c", "filter.lfs.clean=cat", "add", "-A")
    repo.commit()
    repo.write({"w.pt": "weights"})
    assert repo.uncommitted("w.pt") == []
    repo.write({"w.pt": "trained"})
    assert repo.uncommitted("w.pt") == ["w.pt"]
    assert not (repo.top / "ran").exists()


def test_a_git_annex_pointer_names_what_was_committed(repo: Repo) -> None:
    key = f"SHA256E-s7--{hashlib.sha256(b'weights').hexdigest()}.pt"
    there = f".git/annex/objects/Jx/G2/{key}/{key}"
    repo.write({there: "weights", "unlocked.pt": f"/annex/objects/{key}\n"})
    (repo.root / "lib/w.pt").symlink_to(f"../{there}")
    repo.commit()
    repo.write({"unlocked.pt": "weights"})
    assert repo.uncommitted("lib/w.pt", "unlocked.pt") == []
    repo.write({there: "trained", "unlocked.pt": "trained"})
    assert repo.uncommitted("lib/w.pt", "unlocked.pt") == ["lib/w.pt", "unlocked.pt"]


def test_links_are_followed_as_they_are_committed(repo: Repo) -> None:
    (repo.root / "linked").symlink_to("lib")
    (repo.root / "lib/again.py").symlink_to("../linked/net.py")
    repo.commit()
    assert repo.uncommitted("linked/net.py", "lib/again.py") == []
    repo.write({"lib/other.py": "x = 2\n"})
    repo.commit()
    (repo.root / "lib/again.py").unlink()
    (repo.root / "lib/again.py").symlink_to("other.py")
    assert repo.uncommitted("lib/again.py") == ["lib/again.py"], "the same bytes by another link"
    (repo.root / "lib/again.py").unlink()
    (repo.root / "lib/again.py").symlink_to("../linked/net.py")
    repo.write({"lib/net.py": "x = 3\n"})
    assert repo.uncommitted("linked/net.py", "lib/again.py") == ["lib/again.py", "linked/net.py"]


def test_circular_symlinks(repo: Repo) -> None:
    repo.write({"net.py": "x = 1\n"})
    (repo.root / "a").symlink_to("b")
    (repo.root / "b").symlink_to("a")
    repo.commit()
    assert repo.checkout(digests={"a/net.py": Digest.of(b"")}).files == {}


def test_the_bytes_used_count_not_the_current_ones(repo: Repo) -> None:
    used = Digest.of(b"edited while it was built\n")
    assert repo.checkout(digests={"net.py": used}).uncommitted({"net.py": used}) == ["net.py"]


def test_a_large_file_a_name_with_spaces_and_an_empty_one(repo: Repo) -> None:
    repo.write({"a b/ü.bin": "x" * 3_000_000, "lib/__init__.py": ""})
    assert repo.uncommitted("a b/ü.bin", "lib/__init__.py") == ["a b/ü.bin", "lib/__init__.py"]
    repo.commit()
    assert repo.uncommitted("a b/ü.bin", "lib/__init__.py") == []
    repo.write({"lib/__init__.py": "\n"})
    assert repo.uncommitted("a b/ü.bin", "lib/__init__.py") == ["lib/__init__.py"]


def test_a_sha256_repository(tmp_path: Path) -> None:
    repo = Repo.__new__(Repo)
    repo.top = repo.root = tmp_path
    repo.told = []
    repo.git("init", "-q", "--object-format=sha256")
    repo.write(FILES)
    assert len(repo.commit()) == 64
    repo.write({"net.py": "x = 3\n"})
    assert repo.uncommitted(*FILES) == ["net.py"]


def test_replaced_objects_are_ignored(repo: Repo) -> None:
    was = repo.git("rev-parse", "HEAD:net.py")
    repo.write({"net.py": "x = 3\n"})
    other = repo.git("hash-object", "-w", "net.py")
    repo.git("replace", was, other)
    assert repo.uncommitted("net.py") == ["net.py"]


def test_without_a_commit_nothing_is_committed(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    (repo.root / "new.yaml").write_text("")
    assert repo.checkout("net.py", manifest="new.yaml") == Checkout(), "the manifest is not in the repository"
    alone = tmp_path / "alone"
    alone.mkdir()
    assert checkout(alone / "gdcbuild.yaml", {}, {}, repo.told.append) == Checkout()
    used = {"net.py": Digest.of(b"")}
    assert Checkout().uncommitted(used) == ["net.py"]
    assert Checkout().describe(used) == ""
    assert repo.told == []


def test_nothing_is_written(repo: Repo) -> None:
    (repo.root / "net.py").touch()
    before = {p: p.stat().st_mtime_ns for p in (repo.top / ".git").rglob("*") if p.is_file()}
    repo.uncommitted(*FILES)
    assert {p: p.stat().st_mtime_ns for p in (repo.top / ".git").rglob("*") if p.is_file()} == before
