"""Looks up names. A manifest sees its own names first, then those of the root manifest; models are visible everywhere."""

from __future__ import annotations

import os
import posixpath
from collections import ChainMap, Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gdcbuild.core.graph import STEP, Image, MadeBy, Toolchain
from gdcbuild.core.ids import VersionId
from gdcbuild.core.keys import Section
from gdcbuild.errors import Location, ManifestError, Problem
from gdcbuild.manifest import model as m
from gdcbuild.manifest.inputs import Inputs, clean_reference
from gdcbuild.manifest.keys import Keys
from gdcbuild.manifest.load import File, Loaded
from gdcbuild.manifest.mistakes import Mistakes
from gdcbuild.manifest.paths import Paths
from gdcbuild.manifest.requirements import unpinned
from gdcbuild.manifest.steps import declared
from gdcbuild.manifest.validate import GUESSES, did_you_mean, quoted
from gdcbuild.manifest.wrong import Wrong

INTERPRETER = "/interpreter"
"""The toolchain that is gdcbuild's own Python. Others are named after their files, whose paths never start with a slash."""


class Names:
    """Looks up names, and suggests similar ones for those that do not exist.

    `toolchains` are those of the frameworks looked up so far. `used` are the entries that versions use, as manifest, section
    and name. `unread` is true if something refers to a model that no manifest read so far contains.
    """

    def __init__(self, loaded: Loaded, images: Mapping[str, Image]) -> None:
        self._loaded = loaded
        self._images = images
        self._main = loaded.main.path
        self.wrong = Wrong()
        self.unread = False
        self.toolchains: dict[str, Toolchain] = {}
        self.models = self._models()
        self._needs: set[str] = set()
        self.used: set[tuple[str, str, str]] = set()
        self._outputs: dict[str, tuple[str, ...]] = {}
        self._scopes: dict[tuple[str, str], dict[str, tuple[File, Any]]] = {}
        self._roots: dict[str, Paths] = {}
        self._unknown = 0
        self._folder_of = {file.node.where.file: file.folder for file in loaded.files}
        self._manifests_in = Counter(map(posixpath.dirname, {loaded.main.path, *loaded.included}))
        for file in loaded.files:
            for (section, name), problems in file.wrong.items():
                self.wrong.add(self.entry(file, section, name), problems)
            for model, ids in file.versions.items():
                for version in ids:
                    self.wrong.add(f"{model}@{version}", needs=[model])

    @contextmanager
    def mistakes_of(self, name: str) -> Iterator[Mistakes]:
        """Record problems inside the context as problems of `name`, and everything looked up there as needed by it."""
        mistakes, outer, self._needs = Mistakes(), self._needs, set()
        with mistakes:
            yield mistakes
        self.wrong.add(name, mistakes.problems, self._needs)
        self._needs = outer

    def entry(self, file: File, section: str, name: str) -> str:
        """The name under which problems of an entry are recorded: versions, models and steps by their ids."""
        if section in ("models", "versions"):
            return name
        return self.step_id(file, name) if section == "steps" else f"{section} {name} of {file.path}"

    def need(self, file: File, section: str, name: str) -> None:
        """Record that the current item needs this entry."""
        self._needs.add(self.entry(file, section, name))

    def inputs(self, file: File) -> Inputs:
        """What resolves paths and references in `file`."""
        return Inputs(self._loaded.paths, self._folder_of, lambda ref, where: self.made_by(file, ref, where), self.root)

    def root(self, name: str, where: Location) -> Paths:
        """What finds files below a root. Raises ManifestError if the root is unknown or not a folder."""
        main = self._loaded.main
        roots = main.manifest.roots
        if name not in roots:
            raise self.unknown(main, "roots", name, roots, where)
        self.need(main, "roots", name)
        if name not in self._roots:
            text, place = roots[name], main.at("roots").key(name)
            if "://" in text or text.startswith("~"):
                hint = 'write an absolute path, or one relative to this file; "${env.HOME}" is the home folder'
                raise ManifestError(Problem(f"{quoted(text)} is not a folder", hint, place))
            self._roots[name] = Paths(Path(os.path.normpath(self._loaded.root / text)), self._loaded.paths, name)
        found = self._roots[name]
        if not found.is_folder("", ".", where):
            hint = f"mount it, or correct the path in roots: {{{name}: FOLDER}}"
            raise ManifestError(Problem(f"there is no folder {str(found.root)!r}, the root {name!r}", hint, where))
        return found

    @property
    def keys(self) -> Keys:
        """The keys of the frameworks."""
        return self._loaded.keys

    def entries(self, file: File) -> Iterator[tuple[Section, str]]:
        """The entries that a file declares in the frameworks' sections."""
        for section in self.keys.sections:
            for name in getattr(file.manifest, section.name):
                yield section, name

    def is_broken(self, section: str, name: str) -> bool:
        """Whether an entry, or part of it, was removed as invalid: what is missing from it has been reported."""
        return bool({(section, name), (section, "")} & self._loaded.broken)

    def _is_broken_here(self, file: File, section: str, name: str) -> bool:
        """The same for a name as seen from `file`. The reported problem then also affects the current item."""
        broken = self.is_broken(section, name)
        for owner in (file, self._loaded.main) if broken else ():
            self.need(owner, section, name)
        return broken

    def unknown(
        self, file: File, section: str, name: str, known: Iterable[str], where: Location, of: str = ""
    ) -> ManifestError:
        """The error for an unknown name in `file`. It is empty if the name exists but its problems have been reported."""
        if self._is_broken_here(file, section, f"{of}@{name}" if of else name):
            return ManifestError()
        what = f"model {of!r} has no version" if of else f"unknown {section.removesuffix('s')}"
        self._unknown += 1
        hint = did_you_mean(name, known, "declare it") if self._unknown <= GUESSES else "declare it"
        return ManifestError(Problem(f"{what} {quoted(name)}", hint, where))

    def scope(self, file: File, section: str) -> Mapping[str, tuple[File, Any]]:
        """The names of a section that a file sees, its own first, each with the file that declares it."""
        return ChainMap(self._own(file, section), self._own(self._loaded.main, section))

    def _own(self, file: File, section: str) -> dict[str, tuple[File, Any]]:
        key = (file.path, section)
        if key not in self._scopes:
            self._scopes[key] = {name: (file, item) for name, item in getattr(file.manifest, section).items()}
        return self._scopes[key]

    def made_by(self, file: File, ref: m.StepRef | m.ModelRef, where: Location) -> MadeBy:
        """The action and output that a reference points to."""
        path = clean_reference(ref.path, where)
        if isinstance(ref, m.StepRef):
            steps = self.scope(file, "steps")
            if ref.step not in steps:
                raise self.unknown(file, "steps", ref.step, steps, where)
            owner, step = steps[ref.step]
            self.need(owner, "steps", ref.step)
            outputs = self.outputs(owner, ref.step)
            if path and not path.endswith("/") and any(o.startswith(f"{path}/") for o in outputs):
                path += "/"
            if path and not any(path == o or (o.endswith("/") and path.startswith(o)) or _is_in(o, path) for o in outputs):
                if self._is_broken_here(owner, "steps", ref.step):
                    raise ManifestError()
                raise ManifestError(
                    Problem(f"step {ref.step!r} has no output {ref.path!r}", f"its outputs: {', '.join(step.outputs)}", where)
                )
            return MadeBy(self.step_id(owner, ref.step), path)
        if ref.model not in self.models:
            self.unread = True
            raise self.unknown(file, "models", ref.model, self.models, where)
        versions = self.models[ref.model][1].versions
        if ref.version not in versions:
            raise self.unknown(file, "versions", ref.version, versions, where, ref.model)
        made = str(VersionId(ref.model, ref.version))
        self.need(file, "versions", made)
        return MadeBy(made, path)

    def step_id(self, file: File, name: str) -> str:
        """The action id of a step: it contains the manifest's folder, or its path if the folder has several manifests.

        It depends only on which manifests exist, not on their content: some may not have been read.
        """
        above = file.folder
        if self._manifests_in[above] > 1 and file.path != (posixpath.join(above, "gdcbuild.yaml") if above else self._main):
            above = file.path
        return f"{STEP}{above}/{name}" if above else f"{STEP}{name}"

    def outputs(self, file: File, step: str) -> tuple[str, ...]:
        """The outputs of a step. Raises ManifestError for mistakes in them, at the step."""
        identifier = self.step_id(file, step)
        if identifier not in self._outputs:
            self._outputs[identifier] = declared(file.manifest.steps[step], file.at("steps", step))
        return self._outputs[identifier]

    def framework(self, file: File, name: str, where: Location) -> tuple[Image, str]:
        """The image and the toolchain's name, for the name of a framework or an image."""
        scope = self.scope(file, "frameworks")
        if name not in scope:
            if name in self._images:
                return self._images[name], self._toolchain(None)
            raise self.unknown(file, "frameworks", name, {**scope, **self._images}, where)
        owner, framework = scope[name]
        self.need(owner, "frameworks", name)
        place = owner.where("frameworks", name, "image")
        known = self._images.get(framework.image)
        if known is None and not (framework.kind and framework.version):
            if self._is_broken_here(owner, "frameworks", name):
                raise ManifestError()
            raise ManifestError(
                Problem(
                    f"unknown image {quoted(framework.image)}",
                    f'add its kind and version ("2.13"), or use one of: {", ".join(sorted(self._images))}',
                    place,
                )
            )
        for key, said in (("kind", framework.kind), ("version", framework.version)) if known else ():
            if said and said != getattr(known, key):
                message = f"{key}: image {quoted(framework.image)} has {getattr(known, key)}"
                raise ManifestError(Problem(message, f"remove {key}", owner.where("frameworks", name, key)))
        image = known or Image(framework.image, framework.kind or "", framework.version or "")
        requirements = None
        if framework.toolchain is not None:
            place = owner.where("frameworks", name, "toolchain", "requirements")
            requirements = self._loaded.paths.file(owner.folder, framework.toolchain.requirements, place)
        return image, self._toolchain(requirements, place)

    def _models(self) -> dict[str, tuple[File, m.Model]]:
        found: dict[str, tuple[File, m.Model]] = {}
        for file in self._loaded.files:
            for name, model in file.manifest.models.items():
                if name in found:
                    other = found[name][0].where("models", name)
                    message = f"two models have the id {name!r}; the other is at {other}"
                    self.wrong.add(name, [Problem(message, "rename one of them", file.where("models", name))])
                found.setdefault(name, (file, model))
        return found

    def _toolchain(self, requirements: str | None, where: Location | None = None) -> str:
        name = requirements or INTERPRETER
        self._needs.add(f"toolchain {name}")
        if name not in self.toolchains:
            self.toolchains[name] = Toolchain(name, requirements, where)
            if requirements is not None:
                shown = posixpath.join(posixpath.dirname(self._loaded.main.node.where.file), requirements)
                self.wrong.add(f"toolchain {name}", unpinned(self._loaded.root / requirements, shown))
        return name


def _is_in(output: str, folder: str) -> bool:
    return folder.endswith("/") and output.startswith(folder)
