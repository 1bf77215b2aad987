"""From a valid workspace to the graph: names looked up, files found, each framework asked for its actions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gdcbuild.core.graph import STEP, Action, Command, Graph, Image, Input, MadeBy, Origin, Policy, Toolchain, Version
from gdcbuild.core.ids import VersionId
from gdcbuild.core.ports import Framework
from gdcbuild.core.request import Export, Handler, Source, VersionRequest
from gdcbuild.errors import Location, ManifestError, Problem, raise_all
from gdcbuild.manifest import model as m
from gdcbuild.manifest.inputs import Inputs, Named, clean_reference
from gdcbuild.manifest.load import File, Loaded
from gdcbuild.manifest.merge import SOURCES, merge
from gdcbuild.manifest.requirements import unpinned
from gdcbuild.manifest.steps import declared
from gdcbuild.manifest.validate import did_you_mean, validate
from gdcbuild.manifest.validate import problems as said
from gdcbuild.manifest.yaml import Node

INTERPRETER = "interpreter"


def lower(loaded: Loaded, frameworks: Mapping[str, Framework], images: Mapping[str, Image]) -> Graph:
    """The graph of a workspace. Raises ManifestError with every mistake in it, a cycle included."""
    lowering = _Lowering(loaded, frameworks, images)
    graph = lowering.graph()
    raise_all(ManifestError, lowering.problems)
    _ = graph.order
    return graph


class _Lowering:
    def __init__(self, loaded: Loaded, frameworks: Mapping[str, Framework], images: Mapping[str, Image]) -> None:
        self.loaded = loaded
        self.frameworks = frameworks
        self.images = images
        self.problems: list[Problem] = list(loaded.problems)
        self.toolchains: dict[str, Toolchain] = {}
        self.actions: dict[str, Action] = {}
        self.versions: dict[VersionId, Version] = {}
        self.models = self._models()
        self.origins: dict[str, Origin] = {}
        self.common = set(loaded.looked)
        self.epoch = self._epoch()
        self.folder_of = {file.node.where.file: file.folder for file in loaded.files}

    def graph(self) -> Graph:
        for file in self.loaded.files:
            self._refuse_framework_in_defaults(file)
            inputs = self._inputs(file)
            for name, step in file.manifest.steps.items():
                with self._origin(_step_id(file, name), file):
                    self._guarded(lambda f=file, i=inputs, n=name, s=step: self._step(f, i, n, s))
            for name, model in file.manifest.models.items():
                with self._origin(name, file):
                    for version in model.versions:
                        self._guarded(lambda f=file, i=inputs, n=name, v=version: self._version(f, i, n, v))
            with self.loaded.paths.watched() as looked:
                for name in file.manifest.frameworks:
                    self._guarded(lambda f=file, n=name: self._framework(f, n, f.node.where))
            self.common |= looked
        self.origins[""] = Origin(self.loaded.main.path, frozenset(self.common))
        main = self.loaded.main.manifest
        policy = Policy(main.policy.pickle)
        name = self.loaded.root.name
        return Graph(self.actions, self.versions, self.toolchains, name, main.pools, policy, self.origins)

    @contextmanager
    def _origin(self, name: str, file: File) -> Iterator[None]:
        """Remember all that is looked at inside the context as looked at for this model or step."""
        with self.loaded.paths.watched() as looked:
            yield
        self.origins[name] = Origin(file.path, frozenset(looked))

    def _epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH, as reproducible-builds.org defines it."""
        text = self.loaded.variables.get("SOURCE_DATE_EPOCH", "")
        if not text:
            return None
        if not re.fullmatch("[0-9]{1,12}", text):
            self.problems.append(
                Problem(f"SOURCE_DATE_EPOCH is {text!r}, no number of seconds since 1970", "correct the variable, or unset it")
            )
            return None
        return int(text)

    def _unknown(self, section: str, name: str, known: Iterable[str], where: Location, of: str = "") -> ManifestError:
        """A name that nothing has. Of one that is there but broken nothing more is said."""
        if (section, f"{of}@{name}" if of else name) in self.loaded.broken:
            return ManifestError()
        what = f"version of {of!r}," if of else section.removesuffix("s")
        return ManifestError(Problem(f"there is no {what} {name!r}", did_you_mean(name, known, "declare it"), where))

    def _inputs(self, file: File) -> Inputs:
        """Resolves paths as `file` gives them, with the names it sees."""
        return Inputs(self.loaded.paths, self.folder_of, lambda ref, where: self._made_by(file, ref, where))

    def _refuse_framework_in_defaults(self, file: File) -> None:
        for kind in self.frameworks:
            node = _maybe(file, "defaults", kind)
            if node is not None and node.get("framework"):
                self.problems.append(
                    Problem(
                        "`framework` has no effect in defaults, which are chosen by it",
                        "give it to the models",
                        node.key("framework"),
                    )
                )

    def _guarded(self, work: Any) -> None:
        """Collect what is wrong with one thing and go on to the next."""
        try:
            work()
        except ManifestError as error:
            self.problems += error.problems

    def _models(self) -> dict[str, tuple[File, m.Model]]:
        found: dict[str, tuple[File, m.Model]] = {}
        for file in self.loaded.files:
            for name, model in file.manifest.models.items():
                where = _at(file, "models", name)
                if name in found:
                    other = _at(found[name][0], "models", name)
                    self.problems.append(
                        Problem(f"two models have the id {name!r}; the other stands at {other}", "rename one of them", where)
                    )
                found.setdefault(name, (file, model))
        return found

    def _scope(self, file: File, section: str) -> dict[str, tuple[File, Any]]:
        """Names of one section that a file sees: the root's and, before them, its own."""
        seen: dict[str, tuple[File, Any]] = {}
        for owner in (self.loaded.main, file):
            seen.update({name: (owner, item) for name, item in getattr(owner.manifest, section).items()})
        return seen

    def _made_by(self, file: File, ref: m.StepRef | m.ModelRef, where: Location) -> MadeBy:
        path = clean_reference(ref.path, where)
        if isinstance(ref, m.StepRef):
            steps = self._scope(file, "steps")
            if ref.step not in steps:
                raise self._unknown("steps", ref.step, steps, where)
            owner, step = steps[ref.step]
            outputs = [clean_reference(o, where) for o in step.outputs]
            if path and not any(path == o or (o.endswith("/") and path.startswith(o)) or o.startswith(path) for o in outputs):
                raise ManifestError(
                    Problem(f"step {ref.step!r} does not make {ref.path!r}", f"it makes: {', '.join(step.outputs)}", where)
                )
            return MadeBy(_step_id(owner, ref.step), path)
        if ref.model not in self.models:
            raise self._unknown("models", ref.model, self.models, where)
        versions = self.models[ref.model][1].versions
        if ref.version not in versions:
            raise self._unknown("versions", ref.version, versions, where, ref.model)
        return MadeBy(str(VersionId(ref.model, ref.version)), path)

    def _framework(self, file: File, name: str, where: Location) -> tuple[Image, str]:
        """The image, and the name of the toolchain, behind a framework's name or an image's."""
        scope = self._scope(file, "frameworks")
        if name not in scope:
            if name in self.images:
                return self.images[name], self._toolchain(None)
            raise self._unknown("frameworks", name, {**scope, **self.images}, where)
        owner, framework = scope[name]
        place = _at(owner, "frameworks", name, "image")
        known = self.images.get(framework.image)
        if known is None and not (framework.kind and framework.version):
            raise ManifestError(
                Problem(
                    f"image {framework.image!r} is not known to gdcbuild",
                    f'give its kind and version ("2.13") beside it, or use one of: {", ".join(sorted(self.images))}',
                    place,
                )
            )
        kind = framework.kind or (known.kind if known else "")
        version = framework.version or (known.version if known else "")
        image = Image(framework.image, kind, version, known.deprecated if known else False)
        requirements = None
        if framework.toolchain is not None:
            place = _at(owner, "frameworks", name, "toolchain", "requirements")
            requirements = self.loaded.paths.file(owner.folder, framework.toolchain.requirements, place)
        return image, self._toolchain(requirements, place)

    def _toolchain(self, requirements: str | None, where: Location | None = None) -> str:
        name = requirements or INTERPRETER
        if name not in self.toolchains:
            self.toolchains[name] = Toolchain(name, requirements, where)
            if requirements is not None:
                self.problems += unpinned(self.loaded.root, requirements)
        return name

    def _step(self, file: File, inputs: Inputs, name: str, step: m.Step) -> None:
        node = _node(file, "steps", name)
        toolchain = None
        if step.framework is not None:
            _, toolchain = self._framework(file, step.framework, node.key("framework"))
        cwd, laid = inputs.in_place(file.folder, _named(step.inputs, node.get("inputs")))
        where = _at(file, "steps", name)
        if not step.run[0].strip():
            raise ManifestError(Problem("the command is empty", "run: [COMMAND, ARGUMENT, ...]", node.key("run")))
        pools = self.loaded.main.manifest.pools
        if step.pool is not None and step.pool not in pools:
            raise self._unknown("pools", step.pool, pools, _at(file, "steps", name, "pool"))
        outputs = declared(step, node)
        identifier = _step_id(file, name)
        self.actions[identifier] = Action(
            identifier,
            "step",
            Command(tuple(step.run)),
            laid,
            {},
            toolchain,
            tuple(step.env),
            outputs,
            cwd,
            pool=step.pool,
            where=where,
        )

    def _version(self, file: File, inputs: Inputs, model_name: str, version: str) -> None:
        model_node = _node(file, "models", model_name)
        where = _at(file, "models", model_name, "versions", version)
        own = _node(file, "models", model_name, "versions", version)
        if own.value is None:
            own = Node({}, own.where)
        model_level = _without(model_node, "versions")
        name_node = own.get("framework") or model_node.get("framework")
        if name_node is None:
            known = did_you_mean("", self._scope(file, "frameworks"), "an image, such as tf2-cpu.2-18")
            raise ManifestError(Problem(f"{model_name} has no framework", f"add framework: NAME; {known}", where))
        image, toolchain = self._framework(file, str(name_node.value), name_node.where)
        framework = self.frameworks[image.kind]
        node = merge(*self._defaults(file, image.kind), model_level, own)
        merged = validate(m.Version, node)
        if isinstance(merged, list):
            raise ManifestError(*said(merged))
        problem = framework.version_problem(version)
        if problem is not None:
            self.problems.append(Problem(problem, "", where))
        request = self._request(file, inputs, VersionId(model_name, version), image, toolchain, merged, node, where)
        lowered = framework.lower(request)
        if isinstance(lowered, list):
            raise ManifestError(*lowered)
        for action in lowered.actions:
            self.actions[action.id] = action
        self.versions[request.id] = Version(request.id, lowered.final.id, image, where)

    def _defaults(self, file: File, kind: str) -> Iterator[Node]:
        for owner in (self.loaded.main,) if file is self.loaded.main else (self.loaded.main, file):
            node = _maybe(owner, "defaults", kind)
            if node is not None:
                yield node

    def _request(
        self,
        file: File,
        inputs: Inputs,
        identifier: VersionId,
        image: Image,
        toolchain: str,
        version: m.Version,
        node: Node,
        where: Location,
    ) -> VersionRequest:
        """The request a framework gets, with every path of the version resolved; raises every mistake among them."""
        problems: list[Problem] = []

        def collect(work: Any) -> Any:
            try:
                return work()
            except ManifestError as error:
                problems.extend(error.problems)
                return None

        def single(key: str) -> Input | None:
            given, place = getattr(version, key), node.get(key)
            if given is None or place is None:
                return None
            found: Input | None = collect(lambda: inputs.one(Named(given, place)))
            return found

        sources = []
        for key in SOURCES[:-1]:
            given, place = getattr(version, key), node.get(key)
            if given is not None and place is not None:
                named = Named(given, place)
                found = collect(lambda n=named, k=key: inputs.directory(n) if k == "saved_model" else (inputs.one(n),))
                sources.append(Source(key, found or (), node.key(key)))
        config: Any = version.config if isinstance(version.config, dict) else single("config")
        request = VersionRequest(
            identifier,
            image,
            toolchain,
            where,
            tuple(sources),
            collect(lambda: _export(file, inputs, version.export, node)),
            single("model_file"),
            collect(lambda: self._handler(file, version.handler, node, image.kind)),
            collect(lambda: inputs.by_name(_named(version.files or (), node.get("files")))) or (),
            config,
            version.runtime or "python",
            version.compression == "deflate",
            self.epoch,
            _places(node),
        )
        raise_all(ManifestError, problems)
        return request

    def _handler(self, file: File, name: str | None, node: Node, kind: str) -> Handler | None:
        if name is None:
            return None
        where = node.key("handler")
        scope = self._scope(file, "handlers")
        defaults = self.frameworks[kind].default_handlers
        if name not in scope:
            if name in defaults:
                return Handler(name, where)
            raise self._unknown("handlers", name, [*scope, *defaults], where)
        owner, handler = scope[name]
        place = _node(owner, "handlers", name)
        inputs = self._inputs(owner)
        path, colon, function = handler.file.rpartition(":")
        file_node = place.get("file")
        assert file_node is not None
        return Handler(
            name,
            place.key("file"),
            inputs.one(Named(path if colon else handler.file, file_node)),
            function if colon else None,
            inputs.by_name(_named(handler.files, place.get("files"))),
            inputs.one(Named(handler.requirements, place.get("requirements") or place)) if handler.requirements else None,
        )


def _export(file: File, inputs: Inputs, export: m.Export | None, node: Node) -> Export | None:
    if export is None:
        return None
    place = node.get("export")
    assert place is not None
    if export.function is None:
        raise ManifestError(
            Problem("the export has no function", 'add function: "package.module:function"', node.key("export"))
        )
    given = [*_named(export.files or (), place.get("files")), *_named(export.data or (), place.get("data"))]
    cwd, laid = inputs.in_place(file.folder, given)
    return Export(export.function, laid, export.args or {}, export.method, cwd, node.key("export"))


def _places(node: Node) -> dict[str, Location]:
    """Where each key of a version stands, and as `config.KEY` those of its configuration."""
    config = node.get("config")
    inner = {f"config.{key}": config.key(key) for key, _ in config.items()} if config else {}
    return {**{key: node.key(key) for key, _ in node.items() if key != "framework"}, **inner}


def _named(values: Sequence[Any], node: Node | None) -> list[Named]:
    if node is None or not isinstance(node.value, list):
        return []
    return [Named(value, child) for value, child in zip(values, node.value, strict=True)]


def _node(file: File, *path: str) -> Node:
    found = _maybe(file, *path)
    assert found is not None
    return found


def _maybe(file: File, *path: str) -> Node | None:
    node: Node | None = file.node
    for key in path:
        node = node.get(key) if node else None
    return node


def _at(file: File, *path: str) -> Location:
    return file.node.at(path)[0]


def _without(node: Node, key: str) -> Node:
    return Node({k: n for k, n in node.items() if k != key}, node.where, node.keys)


def _step_id(file: File, name: str) -> str:
    return f"{STEP}{file.folder}/{name}" if file.folder else f"{STEP}{name}"
