"""Makefiles: rules in the order of make, conditionals, includes, functions; held against make itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gdcbuild.adopt.found import Found, shown
from gdcbuild.adopt.makefile import Makefile
from gdcbuild.adopt.read import read
from gdcbuild.adopt.recipes import recipes

PACK = "torch-model-archiver --model-name m --handler h.py -v 1"


def lines(text: str, folder: Path) -> list[str]:
    made = Makefile(Found(), folder.as_posix())
    made.read(text, "Makefile")
    return [" ".join(shown(recipe.text).replace("\\\n", " ").split()) for recipe in recipes(made, folder.as_posix())]


def by_make(text: str, folder: Path) -> list[str]:
    """What make itself would run for the default goal."""
    (folder / "Makefile").write_text(text)
    done = subprocess.run(["make", "-nBs"], cwd=folder, capture_output=True, text=True, check=True)
    return [" ".join(line.split()) for line in done.stdout.replace("\\\n", " ").splitlines()]


SAME = {
    "needs come first": "all: up\nup: pack\n\tup $@ $<\npack: a b\n\tpack $^\na b:\n\tmake $@\n",
    "the first target is the goal": ".PHONY: x\nb: a\n\tb\na:\n\ta\n",
    "a goal that is named": ".DEFAULT_GOAL = a\nb: a\n\tb\na:\n\ta\nb2: b\n",
    "needs that are added": "up: pack\nall: up\nup:\n\tup $<\npack:\n\tpack\n",
    "needs for order only": "all: a | b\n\tall $^\na b:\n\tmake $@ $(@D)/$(@F)\n",
    "a pattern": (
        "all: out/x.mar y.mar\nx.pt y.pt out/x.pt:\n\tfetch $@\n%.mar: %.pt net.py\n\tpack $@ $< $* $(<F) $^\nnet.py:\n\tnet\n"
    ),
    "a static pattern": "M = a b\nall: a.mar b.mar\na.mar b.mar: %.mar: %.pt\n\tpack $* $< $@\n%.pt:\n\tfetch $@\n",
    "conditionals that are known": (
        "A = 1\nifeq ($(A),1)\nB = yes\nelse\nB = no\nendif\nifneq '$(A)' \"1\"\nall: x\nelse ifeq ($(B), yes)\nall: y\n"
        "else\nall: z\nendif\nifdef A\nx y z:\n\t$(B) $@\nendif\nifdef A # is\n\tB += more\nelse\nwrong\nendif\nall:\n"
        "ifeq ($(A),2)\n\tnever\nelse\n\tlast\nendif\n"
    ),
    "variables of a target": "V = 0\nall: a b\na: V = 1\nb: V := 2\na b:\n\t@pack $@ $(V)\n",
    "a variable is no goal": "b: V = 1\na:\n\ta\nb:\n\tb\n",
    "define": "define pack\nfirst $(V) \\\n  more\n@second\nendef\nV = 1\nall:\n\t$(pack)\n",
    "call": "pack = pack $(1) -v $(2) $(V)\nV = 0\nall:\n\t$(call pack,a,1); $(call pack,b)\n",
    "foreach": "M := a b\nall:\n\t$(foreach m,$(M),$(call pack,$m);)\npack = pack $(1)\n",
    "nested brackets": "f = x$(1)\nA = 1\nall:\n\trun $(call f,$(call f,$(A))) ${A} $$(echo $$A)\n",
    "two colons": "all:: a\n\tone\nall::\n\ttwo\na:\n\ta\n",
    "targets at once": "all: a b\na b &: c\n\tboth\nc:\n\tc\n",
    "a recipe behind a semicolon": "all: a ; one $@\n\ttwo\na:; a\n",
    "the last recipe": "all: a\n\tall\na:\n\tfirst\nall: b\nb:\n\tb\n",
    "a target that is included": "include more/*.mk\n-include none.mk\nall: $(A)\n\tall\n",
    "the shortest stem": "all: o/x.mar\n%.mar:\n\tany $*\no/%.mar:\n\tours $*\n",
    "patterns one after another": "all: a.x b.x\na.y:\n\ta $@\n%.x: %.y\n\tpack $< $*\n%.y: %.z\n\ttrain $<\nb.z:\n\tb\n",
    "what is added to a value": "V = a\nW := $(V)\nW += $(V)\nX = $(V)\nX += $(V)\nV = b\nall:\n\tpack $(W) $(X)\n",
    "a circle of needs": "all: a\n\tall\na: b\n\ta\nb: c\n\tb\nc:\n\tc\n",
}


@pytest.mark.parametrize("case", SAME)
def test_recipes_are_those_of_make_and_in_its_order(case: str, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.mk").write_text("A = inc\ninc:\n\tfrom $@\n")
    text = SAME[case]
    goal = "all" if "include" in text else ""
    expected = by_make(f".DEFAULT_GOAL = {goal}\n{text}" if goal else text, tmp_path)
    assert expected
    assert lines(text, tmp_path)[: len(expected)] == expected or goal
    assert set(expected) <= set(lines(text, tmp_path))


NAMED: dict[str, tuple[str, list[str]]] = {
    "a file that is missing": (f"include none.mk\nall:\n\t{PACK}", ["1: the Makefile that is included, none.mk, is not there"]),
    "a file in a variable": ("include $(X)\n-include $(Y)/a.mk\nall:", ["1: the Makefile that is included, $X", "2: "]),
    "an ifeq": (f"ifeq ($(A),1)\nall:\n\t{PACK}\nelse\nall:\n\t{PACK}\nendif", ["3: torch-model-archiver in an ifeq", "6: "]),
    "an ifdef in a recipe": (f"all:\nifdef A\n\t{PACK}\nendif\n\ttrue", ["3: torch-model-archiver in an ifdef"]),
    "an else of one": (f"ifeq ($(A),1)\nelse ifeq (1,1)\nall:\n\t{PACK}\nendif", ["4: torch-model-archiver in an ifeq"]),
    "an upload in one": ("all:\nifdef A\n\taws s3 cp x.mar s3://b/m/1/\nendif", ["3: an upload in an ifdef"]),
    "an ifeq of what one sets": (
        f"ifdef A\nB = 1\nendif\nifeq ($(B),1)\nall:\n\t{PACK}\nendif",
        ["6: torch-model-archiver in an ifeq"],
    ),
    "needs that one adds": (
        f"all: a.pt\nifdef A\nall: b.pt\nendif\nall:\n\t{PACK} --extra-files $<",
        ["6: --extra-files is $<"],
    ),
    "an eval": (
        f"define rule\n$(1).mar:\n\t{PACK}\nendef\n$(foreach m,a b,$(eval $(call rule,$(m))))",
        ["5: torch-model-archiver in $(foreach"],
    ),
    "a define that does not end": (f"all:\n\ttrue\ndefine x\n{PACK}", ["4: the text ends within define x"]),
    "a function in a recipe": (f"all:\n\t$(if $(A),{PACK})", ["2: torch-model-archiver is run by $(if"]),
    "a list that is not known": (f"all:\n\t$(foreach m,$(M),{PACK};)", ["2: torch-model-archiver is run by $(foreach"]),
    "a value that runs it": (f"A := $(shell {PACK})\nall:", ["1: torch-model-archiver in the value of A"]),
    "a pattern that nothing needs": (f"%.mar: %.pt\n\t{PACK} --extra-files $*", ["2: --extra-files is $*"]),
    "targets in a variable": (f"$(M:%=%.mar): x y\n\t{PACK} --extra-files $@", ["2: --extra-files is $@"]),
    "a Makefile elsewhere": ("all:\n\t$(MAKE) -C sub all", ["2: sub/Makefile is run, and cannot be read"]),
    "another prefix": (".RECIPEPREFIX = >\nall:", ["1: recipes with another prefix"]),
    "a quote that does not end": (f"all:\n\techo 'x\n\t{PACK}", ["2: the text ends within a quote that begins here"]),
    "a continued line at the end": (f"all:\n\t{PACK} \\\n", ["2: the text ends within a continued line"]),
    "a variable that is taken away": (
        f"V = 1\nundefine V\nall:\n\t{PACK.replace('-v 1', '-v $(V)')}",
        ["4: --version is $(V)"],
    ),
    "a rule for suffixes": (f".pt.mar:\n\t{PACK}", ["2: torch-model-archiver in the rule .pt.mar"]),
    "a rule for all else": (f"all: m.mar\n.DEFAULT:\n\t{PACK}", ["3: torch-model-archiver in the rule .DEFAULT"]),
    "a pattern whose needs are made elsewhere": (
        f"all: a.mar\n%.mar: %.none\n\t{PACK} --extra-files $$X $<",
        ["3: torch-model-archiver would say: unrecognized arguments: a.none"],
    ),
    "a variable that may be exported": (
        f"export B = b\nall:\n\t{PACK}\n\taws s3 cp m.mar s3://$$B/m/1/model.mar",
        ["4: the bucket of s3://$(B)/m/1/model.mar is not known"],
    ),
    "a value of another target": (
        f"V = 1\nprod: V = 2\nprod: pack\npack:\n\t{PACK.replace('-v 1', '-v $(V)')}",
        ["5: --version is $(V)"],
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_is_not_understood_is_named(case: str, tmp_path: Path) -> None:
    text, expected = NAMED[case]
    read(result := Found(), text, "Makefile", str(tmp_path / "Makefile"), str(tmp_path))
    told = [f"{p.where.line}: {shown(p.message)}" for p in result.problems if p.where]
    assert len(told) == len(expected), told
    assert [line for line, start in zip(told, expected, strict=True) if not line.startswith(start)] == []


def test_make_again_with_other_variables_is_named(tmp_path: Path) -> None:
    text = f"all:\n\t$(MAKE) pack\n\t$(MAKE) pack V=2\npack:\n\t{PACK}\n"
    (tmp_path / "Makefile").write_text(text)
    read(result := Found(), text, "Makefile", str(tmp_path / "Makefile"), str(tmp_path))
    (problem,) = result.problems
    assert problem.where and problem.where.line == 3
    assert "in Makefile, which is run here, with variables of its own, is not understood" in problem.message
    assert len(result.packings) == 1


def test_uploads_stand_before_what_they_upload(tmp_path: Path) -> None:
    text = f"all: up\nup: m.mar\n\taws s3 cp $< s3://b/n/2/model.mar\nm.mar: h.py\n\t{PACK}\n"
    read(result := Found(), text, "Makefile", str(tmp_path / "Makefile"), str(tmp_path))
    ((target,),) = result.targets.values()
    assert (target.model, target.version, result.problems, result.archives) == ("n", "2", [], [])


def test_files_that_are_included_are_named_as_themselves(tmp_path: Path) -> None:
    (tmp_path / "rules.mk").write_text(f"\ninclude Makefile\npack:\n\t{PACK} --colour\n")
    text = f"include rules.mk\nall: pack\n\t{PACK}\n"
    (tmp_path / "Makefile").write_text(text)
    read(result := Found(), text, "Makefile", str(tmp_path / "Makefile"), str(tmp_path))
    assert {(p.where.file, p.where.line) for p in result.problems if p.where} == {("rules.mk", 4)}


def test_one_shell_for_all_lines(tmp_path: Path) -> None:
    text = f".ONESHELL:\nall: b\n\tcd x\n\t{PACK}\nb:\n\t{PACK}\n"
    read(result := Found(), text, "Makefile", str(tmp_path / "Makefile"), str(tmp_path))
    assert [p.archive.removeprefix(f"{tmp_path}/") for p in result.packings] == ["m.mar", "x/m.mar"]
