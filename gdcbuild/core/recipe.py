"""What an action is made from, all the way down: known before anything is built or installed.

Where a key has digests of what other actions made, a recipe has their recipes, and of a toolchain what it is installed from.
So a machine with an empty cache can tell whether what is published was made from what lies here, though not what it would
come out as.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.graph import Action, MadeBy
from gdcbuild.core.key import key_of


class Recipe(NamedTuple):
    """`hash` is 64 hex digits. `sources` are the files of the workspace that the action itself reads, by their paths there."""

    hash: str
    sources: Mapping[str, Digest] = {}
    needs: tuple[Recipe, ...] = ()

    @property
    def files(self) -> Tree:
        """Every file of the workspace that goes into it."""
        found: dict[str, Digest] = {}
        seen: set[str] = set()
        stack = [self]
        while stack:
            recipe = stack.pop()
            if recipe.hash not in seen:
                seen.add(recipe.hash)
                found.update(recipe.sources)
                stack += recipe.needs
        return Tree(found)


def recipe_of(
    action: Action,
    inputs: Mapping[str, Digest],
    sources: Mapping[str, Digest],
    toolchain: str | None,
    env: Mapping[str, str],
    needs: Mapping[str, Recipe],
) -> Recipe:
    """The recipe of an action. `inputs` are the files of the workspace by their places in its folder, `sources` by their own
    paths; `toolchain` says what its toolchain is installed from; `env` has the values of the variables it may see."""
    made = sorted((i.path, i.origin.path, needs[i.origin.action].hash) for i in action.inputs if isinstance(i.origin, MadeBy))
    text = json.dumps([key_of(action, Tree(inputs), toolchain, env).hash, made], ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return Recipe(digest, sources, tuple(needs[name] for name in action.needs))
