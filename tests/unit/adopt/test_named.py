"""Nothing that matters is passed over: what is not understood is named where it stands, and the rest is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdcbuild.adopt.findings import Findings, shown
from gdcbuild.adopt.read import read

PACK = "torch-model-archiver --model-name m --handler h.py -v 1"
UP = "aws s3 cp m.mar s3://b/m/1/model.mar"


def found(text: str, folder: Path, name: str = "x.sh") -> Findings:
    result = Findings()
    read(result, text, name or "stdin", str(folder / name) if name else "", str(folder))
    return result


def told(result: Findings) -> list[str]:
    """Problems as LINE: MESSAGE, in the order of their lines."""
    return [
        f"{line}: {message}" for line, message in sorted((p.where.line, shown(p.message)) for p in result.problems if p.where)
    ]


NAMED: dict[str, tuple[str, list[str]]] = {
    "a here-document for a shell": (
        f"bash <<'X'\n: 1\n{PACK}\nX",
        ["3: not followed: torch-model-archiver in a text that bash reads"],
    ),
    "one that goes through cat": (f"cat <<X | bash\n{PACK}\nX", ["1: what runs here is not known: bash"]),
    "one in quotes with spaces": (
        f"sh <<'E O F'\n{PACK}\nE O F",
        ["2: not followed: torch-model-archiver in a text that sh reads"],
    ),
    "one for another machine": (f"ssh host <<X\n{UP}\nX", ["2: not followed: an upload in a text that ssh reads"]),
    "one for Python": (
        f"python - <<X\nrun('{PACK}')\nX",
        ["2: not followed: torch-model-archiver in a text that python reads"],
    ),
    "one for a loop": (f"while read c; do eval $c; done <<X\n{PACK}\nX", ["1: what runs here is not known: eval $c"]),
    "one that is a script": (
        f"cat <<X > run.sh\n#!/bin/sh\n{PACK}\nX",
        ["3: not followed: torch-model-archiver in a text that cat reads"],
    ),
    "a here-string": (f"bash <<< '{PACK}'", ["1: not followed: torch-model-archiver in a text that bash reads"]),
    "what echo writes": (f"echo '{PACK}' | sh -e", ["1: what runs here is not known: sh -e"]),
    "what sed writes": ("sed s/x/y/ list | sh", ["1: what runs here is not known: sh"]),
    "a file that a shell is given": ("bash < list", ["1: what runs here is not known: bash"]),
    "a shell's argument": (f"bash -c '{PACK}'", ["1: not followed: torch-model-archiver is run by bash"]),
    "an upload in one": (f'sh -ec "{UP}"', ["1: not followed: an upload is run by sh"]),
    "an argument that is not known": ('bash -c "$X"', ["1: what runs here is not known: bash -c $X"]),
    "a trap": (f"trap '{UP}' EXIT", ["1: not followed: an upload is run by trap"]),
    "an eval": ('eval "$X"', ["1: what runs here is not known: eval $X"]),
    "a process substitution": (
        f"cat < <({PACK})\ndiff <({UP}) x",
        ["1: not followed: torch-model-archiver in $(...)", "2: not followed: an upload in $(...)"],
    ),
    "a command substitution": (
        f'X=$({PACK})\n[ "$({UP})" ]',
        ["1: not followed: torch-model-archiver in $(...)", "2: not followed: an upload in $(...)"],
    ),
    "one in export": (f"export X=`{PACK}`", ["1: not followed: torch-model-archiver in $(...)"]),
    "xargs": ("xargs torch-model-archiver < args", ["1: not followed: torch-model-archiver is run by xargs"]),
    "xargs for an upload": ("ls | xargs -I{} aws s3 cp {} s3://b/{}", ["1: not followed: an upload is run by xargs"]),
    "find": (f"find . -exec {PACK} \\;", ["1: not followed: torch-model-archiver is run by find"]),
    "words that are set": (f'set -- {PACK}\n"$@"', ["1: not followed: torch-model-archiver is run by set"]),
    "an eval of a part that is not known": (
        f'eval "cd $X; {PACK}"',
        ["1: not followed: torch-model-archiver is run by eval"],
    ),
    "an environment of conda": (f"conda run -n e {PACK}", ["1: not followed: torch-model-archiver is run by conda"]),
    "an alias": ("alias tma=torch-model-archiver", ["1: not followed: torch-model-archiver is run by alias"]),
    "a program in a variable": (
        '"$TMA" --model-name m --handler=h -v 1',
        ["1: not followed: torch-model-archiver is run by $TMA"],
    ),
    "a wrapper with its options": (
        "./tma --model-name m --handler h -v 1",
        ["1: not followed: torch-model-archiver is run by ./tma"],
    ),
    "Python in docker": (
        "docker run img python -m model_archiver.model_packaging --model-name m --handler h -v 1",
        ["1: not followed: torch-model-archiver is run by docker"],
    ),
    "its file": (
        "python model_packaging.py --model-name m --handler h -v 1",
        ["1: not followed: torch-model-archiver is run by python"],
    ),
    "options of sudo": (
        f"sudo -u me {PACK}\ntimeout 9 {PACK}",
        ["1: not followed: torch-model-archiver is run by sudo", "2: "],
    ),
    "a command in an unknown array": (
        f'if a; then C=({PACK}); fi\n"${{C[@]}}"',
        ["2: what runs here is not known: ${C[@]}"],
    ),
    "an array's later member": ("A=(1 2)\ntorch-model-archiver -v ${A[1]}", ["2: torch-model-archiver would say: "]),
    "a function with a word": (f"function f {{ {PACK}; }}", ["1: not followed: torch-model-archiver in the function f()"]),
    "a function in parentheses": (
        f"f() ( {PACK} )\n{UP} --dryrun",
        ["1: not followed: torch-model-archiver in the function f()"],
    ),
    "a block behind ||": (f"a || {{ {PACK}; }}", ["1: not followed: torch-model-archiver in a || branch"]),
    "a subshell behind ||": (f"a || ( {PACK} )", ["1: not followed: torch-model-archiver in a || branch"]),
    "a test and &&": (f'[ "$A" = 1 ] && {PACK}', ["1: not followed: torch-model-archiver in an && branch behind a test"]),
    "a double test and &&": (
        f"[[ $A == 1 ]] && {{ {PACK}; }}",
        ["1: not followed: torch-model-archiver in an && branch behind a test"],
    ),
    "a negation and &&": (f"! a && {PACK}", ["1: not followed: torch-model-archiver in an && branch behind a test"]),
    "behind an exit": (f"exit 0\n{PACK}", ["2: not followed: torch-model-archiver in a part behind exit"]),
    "a folder that is not known": (f"cd $X\n{PACK}", ["2: the folder in which it runs is not known: $X"]),
    "a folder above it": (f"cd $X\ncd ..\n{PACK}", ["3: the folder in which it runs is not known: "]),
    "a folder after an if": (f"if a; then cd x; fi\n{PACK}", ["2: the folder in which it runs is not known: cd in an if"]),
    "a folder after a loop": (
        f"for f in $X; do cd $f; done\n{PACK}",
        ["2: the folder in which it runs is not known: cd in a loop"],
    ),
    "a folder after a test": (f"[ -d x ] && cd x\n{PACK}", ["2: the folder in which it runs is not known: cd in an && branch"]),
    "a variable that is read": ("V=1\nread -r V\n" + PACK.replace("-v 1", "-v $V"), ["3: --version is $V"]),
    "a variable that printf sets": ("V=1\nprintf -v V %s 2\n" + PACK.replace("-v 1", "-v $V"), ["3: --version is $V"]),
    "a variable that let sets": ("V=1\nlet V=2\n" + PACK.replace("-v 1", "-v $V"), ["3: --version is $V"]),
    "an eval in an if": (f"if a; then eval '{PACK}'; fi", ["1: not followed: torch-model-archiver in an if"]),
    "a variable that is counted": ("V=1\n((V++))\n" + PACK.replace("-v 1", "-v $V"), ["3: --version is $V"]),
    "braces": (f"{PACK} --extra-files {{a..c}}.py", ["1: --extra-files is {a..c}.py, and {a..c} is known only"]),
    "a home folder": (f"{PACK} --extra-files ~/x", ["1: --extra-files is ~/x"]),
    "a quote that does not end": (f"{PACK} --extra-files 'a\n", ["1: the text ends within a quote that begins here"]),
    "a double one": (f'echo "it\n{PACK}\n', ["1: the text ends within a quote that begins here"]),
    "a substitution that does not end": (f"A=$(it\n{PACK}\n", ["1: the text ends within (...) that begins here"]),
    "backticks that do not end": (f"A=`it\n{PACK}\n", ["1: the text ends within `...` that begins here"]),
    "a continued line at the end": (f"{PACK} \\\n", ["1: the text ends within a continued line that begins here"]),
    "a backslash at the end": (f"{PACK} \\", ["1: the text ends within a continued line that begins here"]),
    "a here-document that does not end": (f"cat <<X\n{PACK}\n", ["1: the text ends within a here-document that begins here"]),
    "options in an array": (
        'A=(--model-name m "--handler" h.py)\nA+=(-v 1)\ntorch-model-archiver "${A[@]}"',
        ["3: torch-model-archiver would say: "],
    ),
    "the whole command in an array": (
        f'C=(\n  {PACK} # pack\n)\n"${{C[@]}}"',
        ["4: what runs here is not known: ${C[@]}"],
    ),
    "a variable that is taken away": ("V=1\nunset V\n" + PACK.replace("-v 1", "-v ${V:-2}"), ["3: --version is $V"]),
    "a command put into a wrapper": (
        f"run() {{ :; }}\nrun {PACK}",
        ["2: not followed: torch-model-archiver is run by the function"],
    ),
    "a script that is not there": ("bash -e other.sh\n./o.sh", ["1: other.sh is run, and cannot be read", "2: ./o.sh is run"]),
    "a script to read that is not there": (". other.sh", ["1: not followed: other.sh is sourced"]),
    "one on standard input": ("# +\n. ./other.sh", ["2: not followed: ./other.sh is sourced"]),
    "an upload to a variable": (
        f'{PACK}\naws s3 cp m.mar "$DEST"',
        ["2: no model and version are known from the upload to $DEST"],
    ),
    "an upload to a variable that is read": (
        f"{PACK}\nread -r B < bucket\naws s3 cp m.mar s3://$B/m/1/model.mar",
        ["3: the bucket of s3://$B, which the script sets,/m/1/model.mar is not known"],
    ),
    "an upload to a loop's variable": (
        f"{PACK}\nfor B in $(ls); do :; done\naws s3 cp m.mar s3://$B/m/1/model.mar",
        ["3: the bucket of s3://$B, which a loop sets,/m/1/model.mar is not known"],
    ),
    "an upload to an argument": (
        f"{PACK}\naws s3 cp m.mar s3://$1/m/1/model.mar",
        ["2: the bucket of s3://$1/m/1/model.mar is not known"],
    ),
    "an upload below a variable": (
        f'{PACK}\naws s3 cp m.mar "$DEST/m/1/model.mar"',
        ["2: the bucket of $DEST/m/1/model.mar is not known"],
    ),
    "an upload by a program in a variable": (
        f"{PACK}\n$AWS s3 cp m.mar s3://b/m/1/",
        ["2: not followed: an upload is run by $AWS"],
    ),
    "an upload of a folder by it": ("$AWS s3 sync out s3://b/m/", ["1: not followed: an upload is run by $AWS"]),
    "an upload in docker": ("docker run amazon/aws-cli s3 cp out s3://b/m/", ["1: not followed: an upload is run by docker"]),
    "from bucket to bucket": (
        "aws s3 cp s3://a/m.mar s3://b/m/1/",
        ["1: not followed: s3://a/m.mar is copied from one bucket to another"],
    ),
    "an upload by s5cmd": (f"{PACK}\ns5cmd --stat cp m.mar s3://b/m/1/", ["2: not followed: an upload by s5cmd"]),
    "an upload by gsutil to a variable": ('gsutil -m cp m.mar "$D"', ["1: not followed: an upload by gsutil"]),
    "an archive for another program": (
        f"{PACK}\nscp m.mar host:/x\nrsync -a m.mar y/\ncurl -T m.mar https://h/m\n./push.sh m.mar",
        [
            *(f"{n}: not imported: '{program} " for n, program in ((2, "scp"), (3, "rsync"), (4, "curl"))),
            "5: ./push.sh is run, and cannot be read",
        ],
    ),
    "a copy of an archive in an if": (f"{PACK}\nif a; then cp *.mar out/; fi", ["2: not followed: a copy in an if"]),
    "a trace of a shell that reads": ("+ bash\n+ true", ["1: what runs here is not known: bash"]),
    "a trace that lost the end of a quote": (f"+ echo 'a\n+ {PACK}\n+ echo 'b'", ["3: the text ends within a quote"]),
    "and found another": (f"+ echo 'a\n+ {PACK}\n+ echo b'", ["1: not followed: torch-model-archiver is run by echo"]),
    "after a case label that is a program": (
        f"case $1 in\nmake) a ;;\n(bash) b ;;\nesac\nexit\n{PACK}",
        ["6: not followed: torch-model-archiver in a part behind exit"],
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_is_not_understood_is_named(case: str, tmp_path: Path) -> None:
    text, expected = NAMED[case]
    result = found(text, tmp_path, "" if "+" in text[:3] else "x.sh")
    lines = told(result)
    assert len(lines) == len(expected), lines
    assert [line for line, start in zip(lines, expected, strict=True) if not line.startswith(start)] == []
    assert not [p for p in result.packings if "mar" not in text.partition("\n")[2]]


QUIET = [
    "source venv/bin/activate\n. ~/.bashrc",
    "[ -f .env ] && . .env",
    'if [ -f "$X/env.sh" ]; then :; fi',
    "curl -fsSL https://example.org/install.sh | bash",
    "if a; then cp x y; fi; for f in *.txt; do cp $f z/; done",
    "aws s3 ls s3://b/; aws s3 rm s3://b/x; aws s3 cp m.mar s3://b/m/1/ --dryrun",
    'if [ ! -f w.pt ]; then aws s3 cp s3://b/w.pt w.pt; gsutil cp gs://b/w.pt .; aws s3 cp "$URI" w.pt; fi',
    "python -m pip install -U torch-model-archiver; conda install -c pytorch torch-model-archiver",
    "make; make all CC=gcc; python train.py; ./configure",
    'eval "$(ssh-agent)"; eval "$(conda shell.bash hook)"',
    "cat <<X | tee log\naws s3 cp m.mar s3://b/m/1/\nX",
    "command -v torch-model-archiver || exit 1",
    "case $1 in (a|b) x ;; *) exit ;; esac",
]


@pytest.mark.parametrize("text", QUIET)
def test_what_packs_nothing_is_not_named(text: str, tmp_path: Path) -> None:
    result = found(text, tmp_path)
    assert (result.problems, result.notes, result.packings) == ([], [], [])


UNDERSTOOD: dict[str, tuple[str, list[str]]] = {
    "an eval": (f"eval '{PACK}'", ["m.mar"]),
    "folders": (f"pushd sub\n{PACK}\npopd\n{PACK}", ["sub/m.mar", "m.mar"]),
    "a loop that comes back": (f"for f in a; do cd x; cd ..; done\n{PACK}", ["m.mar"]),
    "the condition of an if": (f"if ! {PACK}; then exit 1; fi", ["m.mar"]),
    "a guard": (f"mkdir -p out && {PACK} || {{ echo no; exit 1; }}", ["m.mar"]),
    "an option of Python": ("python3 -u -m model_archiver.model_packaging --model-name m --handler h -v 1", ["m.mar"]),
    "make's word of a folder": (
        f"make[1]: Entering directory 'sub'\n{PACK}\nmake[1]: Leaving directory 'sub'\n{PACK}",
        ["sub/m.mar", "m.mar"],
    ),
    "a trace of $(cd sub && pwd)": (f"++ cd sub\n++ pwd\n+ X=/x\n+ {PACK}", ["m.mar"]),
    "an exit of a trace": (f"+ exit 0\n+ {PACK}", ["m.mar"]),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_what_is_understood(case: str, tmp_path: Path) -> None:
    text, expected = UNDERSTOOD[case]
    result = found(text, tmp_path)
    assert result.problems == []
    assert [Path(p.archive).relative_to(tmp_path).as_posix() for p in result.packings] == expected


def test_copies_of_archives_are_followed(tmp_path: Path) -> None:
    copies = "cp *.mar out/m/1/\ncp -r out/. deploy\nmkdir x; cp -t x y\naws s3 sync deploy s3://b/models --region eu"
    result = found(f"export AWS_ENDPOINT_URL=https://h\n{PACK}\n{copies}", tmp_path)
    ((target,),) = (packing.targets for packing in result.packings)
    assert (target.model, target.version, result.problems) == ("m", "1", [])
    assert target.bucket == {"bucket": "s3://b/models", "endpoint": "https://h", "region": "eu"}


def test_a_script_that_is_sourced_is_named_and_its_variables_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "env.sh").write_text("OUT=out\n")
    result = found(f"source env.sh\n{PACK} --extra-files $OUT\n{PACK}", tmp_path)
    assert told(result) == [
        "1: not followed: env.sh is sourced",
        "2: --extra-files is $OUT, and $OUT is known only when it runs",
    ]
    assert len(result.packings) == 1


def test_a_script_that_is_run_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("python train.py\n")
    (tmp_path / "pack.sh").write_text(f"{PACK}\n")
    (tmp_path / "pack.py").write_text("subprocess.run(['torch-model-archiver', '--model-name', 'm', '--handler', h])\n")
    (tmp_path / "Makefile").write_text(f"all:\n\t{PACK}\n")
    text = "bash train.sh\n./pack.sh a\npython3 -u pack.py\nmake all V=1\n"
    names = ["./pack.sh", "pack.py", "Makefile"]
    lines = told(found(text, tmp_path))
    assert [line.partition(",")[0] for line in lines] == [
        f"{n}: not followed: torch-model-archiver in {name}" for n, name in enumerate(names, 2)
    ]
    result = Findings(files={str(tmp_path / name) for name in names})
    read(result, text, "x.sh", str(tmp_path / "x.sh"), str(tmp_path))
    assert told(result) == [], "what is imported anyway needs no word"


@pytest.mark.parametrize(
    "line",
    [
        "ls | xargs -n1 ./pack.sh",
        "timeout 5 bash pack.sh",
        "env -u X ./pack.sh",
        "find . -exec ./pack.sh {} +",
        "bash pack.sh -c",
    ],
)
def test_a_script_that_another_program_runs_is_looked_into(line: str, tmp_path: Path) -> None:
    (tmp_path / "pack.sh").write_text(f"{PACK}\n")
    (told_of,) = told(found(line, tmp_path))
    assert told_of.startswith("1: not followed: torch-model-archiver in ")


def test_a_shell_with_arguments_may_read_its_commands() -> None:
    assert told(found("sed s/x/y/ list | bash -s a", Path("/none"))) == ["1: what runs here is not known: bash -s a"]


def test_a_script_in_python_is_none(tmp_path: Path) -> None:
    text = "import subprocess\nsubprocess.run(['torch-model-archiver', '--model-name', 'm', '--handler', h])\n"
    assert told(found(text, tmp_path, "x.py")) == ["2: not followed: torch-model-archiver in Python"]


def test_a_variable_in_front_of_a_command_lasts_for_its_command(tmp_path: Path) -> None:
    result = found(f"AWS_REGION=eu aws s3 cp x.mar s3://b/m/1/\n{PACK}\n{UP}", tmp_path)
    ((_, first),), (second,) = result.uploaded, result.packings[0].targets
    assert (first.bucket.get("region"), second.bucket.get("region")) == ("eu", None)


def test_a_variable_is_named_with_what_sets_it(tmp_path: Path) -> None:
    text = f"if a; then V=2; fi\n{PACK.replace('-v 1', '-v $V')}"
    assert told(found(text, tmp_path)) == ["2: --version is $V, which an if sets, and $V is known only when it runs"]


def test_what_a_sourced_script_may_have_set_is_not_known(tmp_path: Path) -> None:
    result = found(f"V=1\n. ./env.sh\n{PACK.replace('-v 1', '-v $V')}", tmp_path)
    assert [line.partition(",")[0] for line in told(result)] == ["2: not followed: ./env.sh is sourced", "3: --version is $V"]


def test_an_end_closes_only_what_it_belongs_to(tmp_path: Path) -> None:
    assert told(found(f"while a; do\n}}\nfi\n{PACK}\ndone", tmp_path)) == ["4: not followed: torch-model-archiver in a loop"]


def test_a_dry_run_uploads_nothing(tmp_path: Path) -> None:
    result = found(f"{PACK}\n{UP} --dryrun", tmp_path)
    assert (told(result), result.packings[0].targets) == ([], [])
