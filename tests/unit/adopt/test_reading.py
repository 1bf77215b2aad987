"""Reading scripts and Makefiles: what is known without running them, and that nothing makes the reader fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.adopt.findings import Findings
from gdcbuild.adopt.read import read

FOLDER = "/no-such-folder/work"


def found(text: str, name: str = "tools/x.sh") -> Findings:
    read(result := Findings(), text, name, f"{FOLDER}/{name}", FOLDER)
    return result


WORDS = {
    "plain": ("V=1", "$V", "1"),
    "braces": ("V=1", "${V}0", "10"),
    "single quotes": ("V=1", "'$V'", "$V"),
    "double quotes": ("V='a b'", '"$V c"', "a b c"),
    "escaped": ("V=1", r"\$V", "$V"),
    "a default": ("", "${V:-2}", "2"),
    "a default that is not needed": ("V=1", "${V:-2}", "1"),
    "a default of a default": ("W=3", '${V:-"${W:-4}"}', "3"),
    "a default for what is empty": ("V=", "${V:-2}", "2"),
    "a default only for what is not set": ("V=", "${V-2}1", "1"),
    "appended": ("V=1; V+=2", "$V", "12"),
    "exported": ("export V=1 W=2", "$W", "2"),
    "in front of a command": ("V=1; V=2 true", "$V", "1"),
    "in a subshell": ("V=1; (V=2)", "$V", "1"),
    "in a function that is not called": ("V=1; f() { V=2; }", "$V", "1"),
    "in dollar quotes": ("", "$'1'", "1"),
    "a folder and back": ("pushd a; pushd b; popd; popd", "$PWD", FOLDER),
    "set in a pipe": ("V=1; true | : ${V:=2}; echo 2 | V=2", "$V", "1"),
    "set by eval": ("C=V=1; eval $C", "$V", "1"),
    "counted by let": ("V=1; let W=2", "$V", "1"),
    "a folder in a pipe": ("cd a | true", "$PWD", FOLDER),
    "a folder in both branches of an if": ("if a; then cd x; cd ..; else cd y; cd -; fi", "$PWD", FOLDER),
    "after brackets with a pattern": ("[[ $A =~ ^(a|b)$ ]]; V=1", "$V", "1"),
    "after a quote in a comment": ("A=$(echo 1 # don't\n)\nV=1", "$V", "1"),
    "after quotes in quotes": ('A=$(echo "it\'s")\nV=1', "$V", "1"),
    "after a function's definition in parentheses": ("f() (V=2); V=1", "$V", "1"),
    "a comment": ("V=1 # V=2", "$V", "1"),
    "a hash in a word": ("V=1#2", "$V", "1#2"),
    "continued": ("V=\\\n1", "$V", "1"),
    "the last word wins": ("V=1\nV=2", "$V", "2"),
    "a subshell's folder": ("(cd sub)", "$PWD", FOLDER),
    "folders": ("cd a; cd b/../c", "$(pwd)", f"{FOLDER}/a/c"),
    "there and back": ("cd a; cd -", "$PWD", FOLDER),
    "the script's folder": ("", '"$(dirname "$0")"', f"{FOLDER}/tools"),
    "the script's folder, quietly": (
        "",
        '"$( cd -- "$( dirname -- "${BASH_SOURCE[0]:-$0}" )" &> /dev/null && pwd -P )"',
        f"{FOLDER}/tools",
    ),
    "the script's folder, by readlink": ("", '$(dirname "$(readlink -f "$0")")', f"{FOLDER}/tools"),
    "above the script's folder": ("", '$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)', FOLDER),
    "in braces that run": ("{ V=1; }", "$V", "1"),
    "after a function": ("f() { V=2; }; V=1", "$V", "1"),
    "after a function, by its word": ("function f { V=2; }; V=1", "$V", "1"),
    "after a loop": ("for ((i=0; i<3; i++)); do :; done; V=1", "$V", "1"),
    "after a case": ("case $1 in a|b) W=1 ;; *) W=2 ;; esac; V=1", "$V", "1"),
}


@pytest.mark.parametrize("case", WORDS)
def test_words(case: str) -> None:
    before, word, expected = WORDS[case]
    result = found(f"{before}\ntorch-model-archiver --model-name model --handler h.py --version {word}\n")
    assert [p.version for p in result.packings] == [expected], result.problems


UNKNOWN = {
    "$V": "$V",
    "$(git rev-parse HEAD)": "$(git rev-parse HEAD)",
    "`git describe`": "$(git describe)",
    "$((1 + 2))": "$((1 + 2))",
    "${V%.*}": "${V%.*}",
    "${#V}": "${#V}",
    "${V:=2}": "${V:=2}",
    "${V:+2}": "${V:+2}",
    "${BASH_SOURCE%/*}": "${BASH_SOURCE%/*}",
    "${A[@]}": "${A[@]}",
    "$(basename a.pt .pt)": "$(basename a.pt .pt)",
    "{1..3}": "{1..3}",
    "$1": "$1",
    '"$@"': "$@",
}


@pytest.mark.parametrize("word", UNKNOWN)
def test_words_that_only_a_run_would_tell(word: str) -> None:
    result = found(f"torch-model-archiver --model-name model --handler h.py --version {word}\n")
    assert not result.packings
    (problem,) = result.problems
    assert problem.message.startswith(f"--version is {UNKNOWN[word]}, and ")


NOT_RUN = [
    "# torch-model-archiver --model-name model --handler h -v 1",
    "cat <<EOF\ntorch-model-archiver --model-name model --handler h -v 1\nEOF",
    "cat <<-'END' > file\n\ttorch-model-archiver --model-name model --handler h -v 1\n\tEND",
    "echo 'torch-model-archiver --model-name model --handler h -v 1'",
    "pip install torch-model-archiver==0.12.0",
    "torch-model-archiver --help",
    "command -v torch-model-archiver >/dev/null 2>&1 || exit 1",
]


@pytest.mark.parametrize("text", NOT_RUN)
def test_what_packs_nothing(text: str) -> None:
    result = found(text)
    assert (result.packings, result.problems) == ([], [])


@pytest.mark.parametrize("before", ["", "V=1; ", "V=; ", "if a; then "])
@pytest.mark.parametrize("default", [": ${V:=2}", ': "${V=2}"', "x ${V:=2}"])
def test_a_variable_whose_default_is_assigned_is_not_known(before: str, default: str) -> None:
    end = "; fi" if before.startswith("if") else ""
    result = found(f"{before}{default}{end}\ntorch-model-archiver --model-name model --handler h.py -v $V\n")
    assert [p.message.partition(",")[0] for p in result.problems] == ["--version is $V"]


@pytest.mark.parametrize(
    "line",
    [
        "gsutil -m cp -r out gs://b/m",
        "gcloud storage cp x.mar gs://b/m/1/",
        "s3cmd put x.mar s3://b/m/1/",
        "mc cp x.mar gdc/b/m/1/",
        "rclone copy out gdc:b",
        "aws s3api put-object --bucket b --key m/2/model.mar --body x.mar",
    ],
)
def test_uploads_that_are_not_followed_are_named(line: str) -> None:
    (problem,) = found(f"\n{line}\n").problems
    program = line.partition(" ")[0]
    assert (problem.message, problem.where and problem.where.line) == (f"not followed: an upload by {program}", 2)


@pytest.mark.parametrize("name", ["Makefile", "rules.mk", ""])
def test_a_makefile_is_named_with_the_line_that_packs(name: str) -> None:
    text = "A = 1\nall: a b\n\ttorch-model-archiver --model-name m --handler h -v $(A)\n"
    result = Findings()
    read(result, text, name or "stdin", name and f"{FOLDER}/{name}", FOLDER)
    (problem,) = result.problems
    assert (problem.message, problem.where and problem.where.line) == ("not followed: torch-model-archiver in a Makefile", 3)
    assert "make -n TARGET | gdcbuild import -" in problem.hint
    assert not result.packings


def test_a_script_is_not_taken_for_a_makefile() -> None:
    text = "set -e\ncase $1 in\n\ta) x ;;\nesac\nif x; then\n\ty\nfi\ntorch-model-archiver --model-name m --handler h -v 1\n"
    result = Findings()
    read(result, text, "stdin", "", FOLDER)
    assert len(result.packings) == 1


PIECES = [
    *(
        "torch-model-archiver",
        "--model-name",
        "m",
        "-v",
        "--handler",
        "aws s3 cp",
        "s3://b/m/1/",
        "cd",
        "if",
        "then",
        "fi",
        "for",
    ),
    *("do", "done", "case", "in", "esac", "{", "}", "(", ")", "$(", "${", "`", "'", '"', "\\", "\n", ";", "&&", "||", "|", "&"),
    *(
        "<<E",
        "E",
        "<",
        ">",
        "2>&1",
        "$A",
        "A=",
        "A+=",
        "=(",
        "#",
        "*",
        "[",
        "function f",
        "f()",
        " ",
        "\t",
        "$$",
        "$(A)",
        "a:",
        ":=",
    ),
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60),
    st.sampled_from(["x.sh", "Makefile", "x.json"]),
)
def test_nothing_makes_the_reader_fail(text: str, name: str) -> None:
    found(text, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["${A:-" * 3000, "$(" * 5000, '"${A:-' * 2000, "(" * 9000, "[" * 9000, "A=a\n" + 'A="$A$A"\n' * 60]
)
@pytest.mark.parametrize("name", ["x.sh", "Makefile", "x.json"])
def test_deep_and_large_texts(text: str, name: str) -> None:
    found(text, name)
