"""Where compound commands end among the items of a text, so that a body can be read again for each word or call."""

from __future__ import annotations

from collections.abc import Sequence

from gdcbuild.adopt.tokens import Fed, Operator, Word

Item = Word | Operator | Fed
LEADS = frozenset({"if", "while", "until", "then", "else", "elif", "do", "{", "!", "time"})
"""Words behind which another command begins."""

_CLOSES = {"if": "fi", "case": "esac", "for": "done", "while": "done", "until": "done", "select": "done", "{": "}"}
_BODIES = {"do": "done", "{": "}", "(": ")"}
_PATTERN, _SUBJECT = "pattern", "subject"


def at_place(items: Sequence[Item], at: int) -> str:
    """The operator, keyword or name that stands there; "" for anything else."""
    item = items[at] if at < len(items) else None
    return item.literal if isinstance(item, Word) else item.text if isinstance(item, Operator) else ""


def end(items: Sequence[Item], at: int) -> int:
    """Where that is which closes the `do`, `{` or `(` there; -1 when nothing does."""
    opened, begins, last = [_BODIES.get(at_place(items, at), "")], True, ""
    for place in range(at + 1, len(items)):
        item, word, top = items[place], at_place(items, place), opened[-1]
        if isinstance(item, Operator):
            if word == "(" and top != _PATTERN:
                opened.append(")")
            elif word == ")" and opened.pop() not in (")", _PATTERN):
                return -1
            elif word == ";;" and top == "esac":
                opened.append(_PATTERN)
            begins = True
        elif top in (_SUBJECT, _PATTERN):
            if (top, word) in ((_SUBJECT, "in"), (_PATTERN, "esac")):
                opened[-1 - (word == "esac") :] = [_PATTERN] if word == "in" else []
        elif begins and word in _CLOSES:
            opened += [_CLOSES[word], _SUBJECT][: 1 + (word == "case")]
            begins = word in LEADS
        elif begins and word in _CLOSES.values():
            if word != opened.pop():
                return -1
        elif isinstance(item, Word):
            begins = last == "function" or (begins and (word in LEADS or word == "function"))
        last = word
        if not opened:
            return place
    return -1


def body(items: Sequence[Item], at: int, opens: Sequence[str]) -> tuple[int, int] | None:
    """Where a body begins and ends that stands there, behind the ends of lines; None if there is none."""
    while at_place(items, at) in ("\n", ";"):
        at += 1
    found = end(items, at) if at_place(items, at) in opens else -1
    return None if found < 0 else (at, found)


def definition(items: Sequence[Item], at: int) -> tuple[str, int, int] | None:
    """The function that is defined there: its name, and where its body begins and ends. One that has no end takes the rest."""
    named = at_place(items, at) == "function"
    name = at_place(items, at + named)
    at += 1 + named
    bare = at_place(items, at) == "(" and at_place(items, at + 1) == ")"
    if not name or not (named or bare):
        return None
    at += 2 * bare
    return (name, *(body(items, at, ("{", "(")) or (at, len(items))))
