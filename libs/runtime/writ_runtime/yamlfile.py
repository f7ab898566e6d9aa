"""YAML (and so JSON) files that people write: plain data, and the place of every key and value for what is said of it.

The only importer of yaml. Refused: aliases (a bomb of a kilobyte grows to gigabytes), duplicate keys, tags, several
documents, NaN, infinity, more bytes or depth than the limits. Scalars are read as YAML 1.1, since that is what the
files in use were written for (`yes` is true), without its traps: `22:00` and `2026-11-24` stay text.
"""

import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from writ_runtime.documents import Document, FileErrors, Keys, Place, Problem

LARGEST = 1_000_000
DEEPEST = 64
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Open(Struct):
    """A list or mapping whose end has not come yet; `key` is the one that waits for its value."""

    container: list[Any] | dict[str, Any]
    keys: Keys
    key: str | None = None
    key_place: Place | None = None


def read(path: Path, *, largest: int = LARGEST) -> Document:
    """The document in a file; FileErrors when it is absent, not a regular file, too large or wrong."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would keep us waiting
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileErrors(Problem(str(path), 1, 1, "is not a regular file", ""))
            data = file.read(largest + 1)
    except OSError as error:
        raise FileErrors(Problem(str(path), 1, 1, f"can't be read: {error.strerror}", "")) from error
    return parse(data, str(path), largest=largest)


def parse(data: bytes, name: str, *, largest: int = LARGEST) -> Document:
    """The document in these bytes; `name` is what errors call it."""
    if len(data) > largest:
        raise FileErrors(Problem(name, 1, 1, f"is larger than {largest} bytes", ""))
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Place(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        raise FileErrors(Problem(name, place.line, place.column, "is not UTF-8", "")) from error
    document = Document(name, text)
    found: list[Problem] = []
    try:
        document.data = _build(document, yaml.parse(text, Loader=_LOADER), found)
    except yaml.YAMLError as error:
        found.append(_syntax(document, text, error))
    if found:
        raise FileErrors(*found)
    return document


def dump(data: object) -> str:
    """Plain data as YAML for people, keys in the order given; what `parse` reads back as the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _text(dumper: yaml.representer.BaseRepresenter, text: str) -> yaml.ScalarNode:
    """Lines as lines; what is neither printable nor a line end escaped, where PyYAML would write it bare."""
    odd = not text.replace("\n", "").isprintable()
    style = '"' if odd else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice, since `parse` refuses aliases."""

    yaml_representers = {**yaml.SafeDumper.yaml_representers, str: _text}  # noqa: RUF012 - PyYAML's own way

    def ignore_aliases(self, data: object) -> bool:
        return True


def _build(document: Document, events: Iterator[yaml.Event], found: list[Problem]) -> Any:
    root: list[Any] = []
    stack: list[_Open] = [_Open(root, ())]
    documents = 0
    for event in events:
        match event:
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    raise FileErrors(*found, document.problem_at(_place(event), "holds more than one document"))
            case yaml.ScalarEvent():
                _scalar_met(document, stack[-1], event, found, len(stack) == 1)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(stack) > DEEPEST:
                    raise FileErrors(*found, document.problem_at(_place(event), f"is nested deeper than {DEEPEST}"))
                stack.append(_opened(document, stack[-1], event, found, len(stack) == 1))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                stack.pop()
            case yaml.AliasEvent():
                raise FileErrors(*found, document.problem_at(_place(event), "aliases (*name) are not allowed"))
    return root[0] if root else None


def _opened(
    document: Document, parent: _Open, event: yaml.CollectionStartEvent, found: list[Problem], at_root: bool
) -> _Open:
    if isinstance(parent.container, dict) and parent.key is None:
        raise FileErrors(*found, document.problem_at(_place(event), "a key must be a word"))
    if event.tag:
        found.append(document.problem_at(_place(event), f"tags ({event.tag}) are not allowed"))
    container: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
    return _Open(container, _add(document, parent, container, _place(event), at_root))


def _scalar_met(
    document: Document, parent: _Open, event: yaml.ScalarEvent, found: list[Problem], at_root: bool
) -> None:
    place = _place(event)
    if isinstance(parent.container, dict) and parent.key is None:
        parent.key, parent.key_place = event.value, place
        if event.value in parent.container:
            found.append(document.problem_at(place, f"the key {event.value!r} stands here twice"))
        if event.value == "<<" and event.implicit[0]:
            found.append(document.problem_at(place, "merge keys (<<) are not allowed"))
        return
    try:
        value = _scalar(event)
    except ValueError as error:
        found.append(document.problem_at(place, str(error)))
        value = None
    _add(document, parent, value, place, at_root)


def _add(document: Document, parent: _Open, value: Any, place: Place, at_root: bool) -> Keys:
    if isinstance(parent.container, list):
        keys = () if at_root else (*parent.keys, len(parent.container))
        parent.container.append(value)
    else:
        key = parent.key or ""
        keys = (*parent.keys, key)
        parent.container.setdefault(key, value)
    document.note(keys, place, parent.key_place)
    parent.key = parent.key_place = None
    return keys


class _Scalars(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """PyYAML's own reading of plain scalars, one at a time."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)


_scalars = _Scalars()
_TEXT = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:merge")


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    if event.tag:
        raise ValueError(f"tags ({event.tag}) are not allowed")
    if not event.implicit[0] or _BASE_60.fullmatch(event.value):
        return str(event.value)
    tag = _scalars.resolve(yaml.ScalarNode, event.value, (True, False))  # type: ignore[no-untyped-call]
    if tag in _TEXT:
        return str(event.value)
    value: str | int | float | bool | None = _scalars.construct_object(yaml.ScalarNode(tag, event.value))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{event.value} is not a number that can be compared")
    return value


def _syntax(document: Document, text: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML doesn't allow at all; `position` counts the bytes before it
        before = text.encode()[: getattr(error, "position", 0)].decode(errors="ignore").split("\n")
        return document.problem_at(Place(len(before), len(before[-1]) + 1), str(getattr(error, "reason", error)))
    said = [str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return document.problem_at(Place(mark.line + 1, mark.column + 1), ", ".join(said))


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
