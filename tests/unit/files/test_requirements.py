"""Which lines of a toolchain's requirements file are pinned, and which are refused."""

from __future__ import annotations

import pytest

from gdcbuild.files.requirements import names, unpinned

PINNED = """\
# a comment
--only-binary :all:
Jinja2==3.1.6
torch[opt]==2.4.1+cpu  # a comment
numpy==2.0.2; python_version >= "3.9"
six==1.17.0 \\
    --hash=sha256:00
    markupsafe==3.0.4
"""


def test_pinned_packages_are_accepted() -> None:
    assert [*unpinned(PINNED)] == []
    assert names(PINNED + "Typing.Extensions==1") == {"jinja2", "torch", "numpy", "six", "markupsafe", "typing-extensions"}


VAGUE = {
    "numpy>=1": ("'numpy>=1' is not pinned", "NAME==VERSION"),
    "numpy": ("'numpy' is not pinned", "NAME==VERSION"),
    "numpy==1.*": ("is not pinned to an exact version", "NAME==VERSION"),
    "--index-url https://u:secret@index/simple": (
        "'--index-url' belongs in pip's configuration",
        "PIP_INDEX_URL, or `index-url` in",
    ),
    "-i https://u:secret@index/simple": ("'-i' belongs in pip's configuration", "PIP_INDEX_URL"),
    "--extra-index-url=https://u:secret@i": ("'--extra-index-url' belongs", "PIP_EXTRA_INDEX_URL"),
    "-f wheels": ("'-f' belongs", "PIP_FIND_LINKS"),
    "--pre": ("'--pre' belongs", "PIP_PRE"),
    "-r other.txt": ("'-r' reads another file", "copy the lines of that file here"),
    "--constraint c.txt": ("'--constraint' reads another file", "copy the lines of that file here"),
    "-e ./mine": ("'-e' installs a link to a folder", "PIP_FIND_LINKS"),
    "./wheels/six-1.17.0-py3-none-any.whl": ("names a file, not a version", "PIP_FIND_LINKS"),
    "six @ https://u:secret@host/six.whl#sha256=00": ("'six @ https://host/six.whl#sha256=00' names a file", "NAME==VERSION"),
    "git+https://host/x.git@main": ("names a file, not a version", "NAME==VERSION"),
}


@pytest.mark.parametrize("line", VAGUE)
def test_unpinned_lines_get_a_hint(line: str) -> None:
    ((number, problem, hint),) = unpinned(f"six==1.17.0\n{line}\n")
    assert number == 2
    assert VAGUE[line][0] in problem
    assert VAGUE[line][1] in hint
    assert "secret" not in problem + hint
