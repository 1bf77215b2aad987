"""Straight lines and loops over known words are followed as bash runs them; anything else is reported, never guessed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gdcbuild.adopt.findings import Findings, shown
from gdcbuild.adopt.read import read

PACK = "torch-model-archiver --handler h --model-name"
RECORD = '#!/bin/sh\nprintf "%s\\n" "$PWD|$2|$4|$6" >> "$LOG"\n'

FOLLOWED = {
    "a loop": f"for m in a b; do {PACK} $m -v 1; done; {PACK} $m -v 2",
    "one over lines": f"for m in a \\\n  b\ndo\n  {PACK} $m \\\n    -v 1\ndone",
    "quoted words": f"for m in a\\ b 'c d'; do {PACK} \"$m\" -v 1; done",
    "a variable of several words": f'M="a b"; for m in $M "$M"; do {PACK} "$m" -v 1; done',
    "loops in loops": f"V=; for m in a b; do for v in 1 2; do V=$V$v; {PACK} $m -v $V; done; done",
    "folders in loops": f"for m in w w/d; do cd $m; {PACK} m -v 1; cd - >/dev/null; (cd w; {PACK} n -v $m); done",
    "a loop in a pipe": f"V=1; for v in 2 3; do V=$v; cd w; {PACK} m -v $V; cd ..; done | cat; {PACK} m -v $V",
    "a case in a loop": f"for m in a b; do case $x in done) ;; esac; {PACK} $m -v 1; done",
    "an assignment behind a pipe": f"V=1; echo |\nV=2\n{PACK} m -v $V",
    "a here-document that is continued": f"cat >/dev/null <<E\na \\\nE\n{PACK} m -v 1\nE\n{PACK} m -v 2",
    "an eval in a loop": f"for m in a b; do eval '{PACK} $m -v 1'; done",
    "an exec at the end": f"exec 3>&1; exec {PACK} m -v 2",
    "a list that is pushed": f"pushd w >/dev/null; {PACK} m -v 1; popd >/dev/null; {PACK} m -v 2",
}
PARTLY = {
    "ranges": f"for v in {{1..3}} {{09..10}} $(seq 2) $(seq 3 4); do {PACK} m -v $v; done",
    "braces": f"for m in x{{a,b}}y {{2..1}}{{c,}}; do {PACK} $m -v 1; done",
    "an array": f'A=(a "b c"); A+=(d); for m in "${{A[@]}}" ${{A[*]}}; do {PACK} "$m" -v 1; done',
    "arrays side by side": f'A=(a b); B=(1 2); for i in "${{!A[@]}}"; do {PACK} "${{A[$i]}}" -v "${{B[i]}}"; done',
    "files": f'for f in w/*.pt "w"/b*; do n=$(basename "$f" .pt); {PACK} $n -v "${{f%.pt}}"; {PACK} ${{f##*/}} -v 1; done',
    "folders": f"for f in w/*/; do {PACK} $(dirname ${{f}}x) -v ${{f}}1; done",
    "files in another folder": f"cd w; for f in ./*.pt; do {PACK} m -v $f; done",
    "no words": f"for m in; do {PACK} $m -v 1; done; A=(); for m in ${{A[@]}}; do {PACK} $m -v 1; done",
    "other space": f"IFS=','; for m in a b; do {PACK} m -v $m; done\nIFS=$'\\n'; V='a b'; for m in $V; do {PACK} m -v $m; done",
    "a function": f'pack() {{ {PACK} "$1" -v "${{2:-1}}"; }}; pack a; pack b 2; pack "c d" ""',
    "by its word": f"function f {{\n {PACK} $1 -v $#; }}\nfunction g() ( cd w; V=2; {PACK} $1 -v $V )\nf a b; g a; f c",
    "its arguments": f'pack() {{ local n=$1; shift; {PACK} $n -v "$*"; for v; do {PACK} $n -v "$v"; done; }}; pack a "b c" d',
    "local variables": f"V=1; f() {{ local V=2 W; W=3; X=4; {PACK} m -v $V$W; }}; f; {PACK} m -v $V${{W:-5}}$X",
    "functions in functions": f"f() {{ {PACK} $1 -v $2; }}; g() {{ for v in 1 2; do f $1 $v; done; }}; g a; g b",
    "one that is defined later": f"f() {{ g $1; }}; g() {{ {PACK} $1 -v 1; }}; f a; g() {{ {PACK} $1 -v 2; }}; f a",
    "a folder that it changes": f"f() {{ cd w; }}; f; {PACK} m -v 1",
    "a variable that it sets": f"g() {{ V=2; }}; f() {{ g; }}; V=1; f; {PACK} m -v $V",
    "arguments that it runs": f'run() {{ "$@"; }}; run {PACK} m -v 1; for v in 1 2; do run {PACK} n -v $v; done',
    "one in front of a program": f'torch-model-archiver() {{ command torch-model-archiver "$@"; }}; {PACK} m -v 1',
    "a variable for a call": f"f() {{ {PACK} m -v $V; }}; V=1; V=2 f; f",
    "a call in a pipe": f"f() {{ V=2; {PACK} m -v 1; }}; V=1; f | cat; {PACK} m -v $V",
    "a return at the end": f"f() {{ {PACK} $1 -v 1; return 0; }}; f a; f b",
    "a failure that leaves": f"f() {{ cd w || return 1; {PACK} $1 -v 1; cd .. || exit; }}; f a; f b",
    "a break at the end": f"for v in 1; do {PACK} m -v $v; break; done; {PACK} m -v 2",
    "arguments that are set": f'set -- a b; for m; do {PACK} $m -v 1; done; f() {{ {PACK} "$1" -v 2; }}; f c; {PACK} $2 -v 3',
    "a sourced function": f". ./lib.sh; for m in a b; do pack $m; done; {PACK} m -v 1",
    "a loop over arguments in one line": f"set -- a b; for m do {PACK} $m -v 1; done",
    "declarations of several": f"a=0; f() {{ local a=1 b=$a; {PACK} m -v $a$b; }}; f; export a=2 b=$a; {PACK} m -v $a$b",
    "a name that is made": f'V=1; k=V; declare "$k=2"; {PACK} m -v $V; export $k=3; {PACK} m -v $V',
    "where a function stands": f". lib/here.sh; here; (cd $D/d; {PACK} m -v 1); cd $E; {PACK} m -v 2",
    "a predicate that is no test": f"f() {{ [ -d w ] || return 1; {PACK} m -v 1; }}; f && {PACK} m -v 2",
    "globs that match": f"shopt -s nullglob; for f in w/*.pt; do {PACK} m -v $f; done; shopt -u nullglob; {PACK} m -v n*",
    "globs that come back": f"set -euf; set +f; for f in w/*.pt; do {PACK} m -v $f; done",
}


def made(text: str, folder: Path) -> Findings:
    read(result := Findings(), text, "x.sh", str(folder / "x.sh"), str(folder))
    return result


def both(text: str, tmp_path: Path) -> tuple[Findings, list[str], list[str]]:
    """What is found, what of that is packed, and what bash packs."""
    folder, programs, log = tmp_path / "work", tmp_path / "programs", tmp_path / "log"
    (folder / "w" / "d").mkdir(parents=True)
    programs.mkdir()
    (programs / "torch-model-archiver").write_text(RECORD)
    (programs / "torch-model-archiver").chmod(0o755)
    for name in ("w/a.pt", "w/b.pt", "w/.c.pt", "w/d/e.pt"):
        (folder / name).touch()
    (folder / "lib").mkdir()
    (folder / "lib" / "here.sh").write_text('D=${BASH_SOURCE%/*}/../w; here() { E=$(dirname "$BASH_SOURCE")/../w; }\n')
    (folder / "lib.sh").write_text(f"pack() {{ {PACK} $1 -v 1; }}\nreturn\n")
    (folder / "x.sh").write_text(text)
    environment = {"PATH": f"{programs}:{os.defpath}", "LOG": str(log)}
    subprocess.run(["bash", "x.sh"], cwd=folder, env=environment, check=True)
    result = made(text, folder)
    ours = [f"{p.folder}|{p.handler}|{p.model_name}|{p.version}" for p in result.packings]
    return result, ours, log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("case", FOLLOWED)
def test_what_is_followed_is_what_bash_runs(case: str, tmp_path: Path) -> None:
    result, ours, theirs = both(FOLLOWED[case], tmp_path)
    assert result.problems == []
    assert ours == theirs


@pytest.mark.parametrize("case", PARTLY)
def test_what_is_not_followed_is_reported_and_never_guessed(case: str, tmp_path: Path) -> None:
    result, ours, theirs = both(PARTLY[case], tmp_path)
    assert result.problems
    assert not set(ours) - set(theirs)
    assert all(problem.where and problem.where.line for problem in result.problems)


NAMED = {
    "words that are not known": (f"for m in a $X; do {PACK} $m -v 1; done", "1: not followed: torch-model-archiver in a loop"),
    "arguments of the script": (f'for m in "$@"; do {PACK} $m -v 1; done', "1: not followed: torch-model-archiver in a loop"),
    "files that are not there": (
        f"for f in none/*.pt; do\n{PACK} m -v $f; done",
        "2: not followed: torch-model-archiver in a loop",
    ),
    "braces in another shell": (
        f"#!/bin/sh\nfor v in {{1..2}}; do {PACK} m -v $v; done",
        "2: not followed: torch-model-archiver in a loop",
    ),
    "a list split otherwise": (
        f"IFS=:; L=a:b; for m in $L; do {PACK} $m -v 1; done",
        "1: not followed: torch-model-archiver in a loop",
    ),
    "a loop that counts": (
        f"for ((i=0; i<2; i++)); do {PACK} m -v $i; done",
        "1: not followed: torch-model-archiver in a loop",
    ),
    "and what it leaves": (f"for ((i=0; i<2; i++)); do :; done\n{PACK} m -v $i", "2: --version is $i"),
    "a loop in an if": (
        f"if a; then for m in b c; do {PACK} $m -v 1; done; fi",
        "1: not followed: torch-model-archiver in a loop",
    ),
    "an if in a loop": (
        f"for m in b c; do if a; then\n{PACK} $m -v 1; fi; done",
        "2: not followed: torch-model-archiver in an if",
    ),
    "what an if in a loop sets": (f"for m in b; do V=1; [ $m = c ] && V=2\n{PACK} $m -v $V; done", "2: --version is $V"),
    "behind a continue": (
        f"for m in b; do [ -d $m ] || continue\n{PACK} $m -v 1; done",
        "2: not followed: torch-model-archiver in a loop",
    ),
    "behind a break": (
        f"for m in b c; do {PACK} b -v 1\n[ -d $m ] && break; done",
        "1: not followed: torch-model-archiver in a loop",
    ),
    "behind a return": (
        f"f() {{ [ -d $1 ] && return\n{PACK} $1 -v 1; }}; f a",
        "2: not followed: torch-model-archiver in the function f()",
    ),
    "a variable behind one": (
        f"f() {{ for m in a b; do [ -d $m ] && return; done; }}; f; {PACK} $m -v 1",
        "1: --model-name is $m",
    ),
    "behind an exit in a subshell": (
        f"( exit 0\n{PACK} m -v 1 )",
        "2: not followed: torch-model-archiver in a part behind exit",
    ),
    "a function that is not called": (
        f"f() {{\n{PACK} m -v 1; }}",
        "2: not followed: torch-model-archiver in the function f()",
    ),
    "one within it": (f"f() {{ g() {{\n{PACK} m -v 1; }}; }}", "2: not followed: torch-model-archiver in the function"),
    "one that a trap calls": (
        f"f() {{ {PACK} m -v 1; }}\ntrap f EXIT",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "one called in an if": (
        f"f() {{\n{PACK} m -v 1; }}\nif a; then f; fi",
        "2: not followed: torch-model-archiver in the function f()",
    ),
    "one of two": (
        f"f() {{ :; }}; if a; then f() {{\n{PACK} m -v 1; }}; fi; f",
        "2: not followed: torch-model-archiver in the function f()",
    ),
    "one of a subshell": (
        f"( f() {{ :; }} ); f() {{ {PACK} m -v $1; }}\nf $X",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "an argument that may be several": (
        f"f() {{ {PACK} m -v $2; }}\nf $X 2",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "a default for one": (
        f"f() {{ {PACK} m -v ${{2:-1}}; }}\nf $X",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "a command that may be none": (
        f'run() {{ "$@"; }}\nrun {PACK} $X -v 1',
        "2: not followed: torch-model-archiver is run by the function run()",
    ),
    "an array whose members may be several": (f"A=($X b); {PACK} m -v ${{A[1]}}", "1: --version is ${A[1]}"),
    "an array that is changed": (f"A=(a b); A[0]=c; {PACK} m -v ${{A[0]}}", "1: --version is ${A[0]}"),
    "a sum": (f"declare -i V=1+1; {PACK} m -v $V", "1: --version is $V"),
    "a count in a word": (f"V=1; : $((V++)); {PACK} m -v $V", "1: --version is $V"),
    "a command put into a variable in an if": (
        f"if a; then C='{PACK} m -v 1'; fi; docker run $C",
        "1: not followed: torch-model-archiver in an if",
    ),
    "a function that calls itself": (
        f"f() {{ {PACK} m -v 1; f; }}\nf",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "a call within $(...)": (
        f"f() {{ {PACK} m -v 1; }}; f\nX=$(true; f)",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "one in a test": (
        f'f() {{ {PACK} m -v 1; }}; f\n[[ -n "$(f)" ]]',
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "one within <(...)": (
        f"f() {{ {PACK} m -v 1; }}; f\ncat < <(f)",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "one of a trap": (
        f"f() {{ {PACK} m -v 1; }}; f\ntrap 'f x' EXIT",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "one of another shell": (
        f"f() {{ {PACK} m -v 1; }}; f; export -f f\nls | xargs -I{{}} bash -c 'f {{}}'",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "one of an eval": (
        f'f() {{ {PACK} m -v 1; }}; f\neval "f $X"',
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "arguments that may be none": (
        f'f() {{ {PACK} m -v $2; }}\nf "$@" 1 2',
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "some of the arguments": (
        f'f() {{ {PACK} m -v $2; }}; g() {{ f "${{@:2}}" 1 2; }}\ng a',
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "an array that may be none": (
        f'f() {{ {PACK} m -v $2; }}; A=($(ls)); B=("${{A[@]}}" 1)\nf "${{B[@]}}" 2',
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "a variable by another name": (
        f"f() {{ local -n out=$1; out=2; }}; V=1; f V; {PACK} m -v $V",
        "1: --version is $V, which the function f() sets",
    ),
    "a count in an index": (f"A=(1 2); i=0; X=${{A[i++]}}; {PACK} m -v ${{A[$i]}}", "1: --version is ${A[$i]}"),
    "a folder by its number": (f"pushd w; pushd +1; {PACK} m -v 1", "1: the folder in which it runs is not known: pushd +1"),
    "behind a function that tests": (
        f"f() {{ [ -d $1 ]; }}; f x && {PACK} m -v 1",
        "1: not followed: torch-model-archiver in an && branch behind a test",
    ),
    "behind one that tells": (
        f"f() {{ if a; then return 0; fi; return 1; }}; f x && {PACK} m -v 1",
        "1: not followed: torch-model-archiver in an && branch behind a test",
    ),
    "behind a block that tests": (
        f"{{ [ -d x ]; }} && {PACK} m -v 1",
        "1: not followed: torch-model-archiver in an && branch behind",
    ),
    "behind a subshell that tests": (
        f"( [ -d x ] ) && {PACK} m -v 1",
        "1: not followed: torch-model-archiver in an && branch behind",
    ),
    "no globs": (f"set -f; {PACK} m -v w*", "1: --version is w*"),
    "globs of hidden files": (f"shopt -s dotglob; {PACK} m -v w*", "1: --version is w*"),
    "globs that may be empty": (f"shopt -s nullglob; set -- n*e 1; {PACK} m -v $2", "1: --version is $2"),
    "braces that are several": (
        f"f() {{ {PACK} m -v $2; }}; f {{a..c}} 1",
        "1: not followed: torch-model-archiver in the function f()",
    ),
    "behind an exec in a subshell": (
        f"(exec ls)\n{PACK} m -v 1",
        "2: not followed: torch-model-archiver in a part behind exec",
    ),
    "behind an exec": (f"exec ls\n{PACK} m -v 1", "2: not followed: torch-model-archiver in a part behind exec"),
    "behind a test in the line above": (
        f"[ -d x ] &&\n{PACK} m -v 1",
        "2: not followed: torch-model-archiver in an && branch behind a test",
    ),
    "behind an || in the line above": (
        f"[ -d x ] || # or\n\n{PACK} m -v 1",
        "3: not followed: torch-model-archiver in a || branch",
    ),
    "behind a test with its path": (
        f"/usr/bin/test -d x && {PACK} m -v 1",
        "1: not followed: torch-model-archiver in an && branch",
    ),
    "behind an egrep": (f"egrep -q a x && {PACK} m -v 1", "1: not followed: torch-model-archiver in an && branch"),
    "a loop over arguments, unknown": (f"for m do {PACK} $m -v 1; done", "1: not followed: torch-model-archiver in a loop"),
    "braces of variables": (
        f"A=1; B=2; for v in {{$A,$B}}; do {PACK} m -v $v; done",
        "1: not followed: torch-model-archiver in a loop",
    ),
    "braces with quotes": (f"for v in {{a,'b'}}; do {PACK} m -v $v; done", "1: not followed: torch-model-archiver in a loop"),
    "a default in quotes": (f"{PACK} m -v ${{V:-'1'}}", "1: --version is ${V:-'1'}"),
    "an extended pattern": (f"V=a.pt; {PACK} ${{V%.@(pt|x)}} -v 1", "1: --model-name is ${V%.@(pt|x)}"),
    "arithmetic of old": (f"{PACK} m -v $[1+1]", "1: --version is $[1+1]"),
    "many rounds": (
        f"for a in {{1..400}}; do for b in {{1..400}}; do :; {PACK} x -v 1; done; done",
        "1: not followed: torch-model-archiver in a loop",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", NAMED)
def test_what_is_not_followed_is_named(case: str, tmp_path: Path) -> None:
    text, expected = NAMED[case]
    result = made(text, tmp_path)
    lines = {f"{p.where.line}: {shown(p.message)}" for p in result.problems if p.where}
    assert len(lines) == 1
    assert lines.pop().startswith(expected)


def test_functions_that_call_each_other_for_what_they_write_end(tmp_path: Path) -> None:
    bodies = "".join(f"f{n}() {{ echo $(f{n - 1} a) $(f{n - 1} b) $(f{n - 1} c); }}\n" for n in range(1, 15))
    result = made(f"f0() {{ echo $1; }}\n{bodies}X=$(f14)\n{PACK} m -v 1\n", tmp_path)
    assert (result.problems, len(result.packings)) == ([], 1)
