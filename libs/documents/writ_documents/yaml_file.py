"""YAML (and so JSON) files: plain data, and the position of every key and value for messages.

The only importer of yaml. Refused: aliases (a bomb of a kilobyte grows to gigabytes), duplicate keys, tags, several
documents, NaN, infinity, integers of more than 64 bits, more bytes or depth than the limits. Messages quote no values,
and only keys that look like keys: values of a stack may be secret, and a password without quotes can begin with `!` or
0, or be read as a key. Scalars are read as YAML
1.1, since existing files were written for it (`yes` is true), without its traps: `22:00` and `2026-11-24` stay text.
"""

import math
import os
import re
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from writ_documents.document import MOST, Document, FileErrors, FileProblem, Keys, Position, Positions

LARGEST = 8 << 20
DEEPEST = 64
_INTEGERS = range(-(2**63), 2**64)
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-7_]*[1-7][0-7_]*")
"""`010` is 8 in YAML 1.1 and 10 in 1.2; its author may have meant either."""
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")
TAGS = "tags are not allowed: put a text that begins with ! in quotes"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _OpenCollection(Struct):
    """An open list or mapping; `key` is the one waiting for its value."""

    container: list[Any] | dict[str, Any]
    keys: Keys
    key: str | None = None
    key_event: yaml.Event | None = None


def read(path: Path, *, largest: int = LARGEST) -> Document:
    """Return the document in a file; FileErrors when it is absent, not a regular file, too large or wrong."""
    return parse(content(path, largest=largest), str(path), largest=largest)


def content(path: Path, *, largest: int = LARGEST) -> bytes:
    """Return the bytes of a file, at most one more than `largest`; FileErrors when they can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would keep us waiting
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileErrors(FileProblem(str(path), 1, 1, "is not a regular file", ""))
            return file.read(largest + 1)
    except OSError as error:
        raise FileErrors(FileProblem(str(path), 1, 1, f"can't be read: {error.strerror}", "")) from error


def parse(data: bytes, name: str, *, largest: int = LARGEST) -> Document:
    """Return the document in these bytes; `name` stands for the file in errors."""
    if len(data) > largest:
        raise FileErrors(FileProblem(name, 1, 1, f"is larger than {largest} bytes", ""))
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        position = Position(before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
        raise FileErrors(FileProblem(name, position.line, position.column, "is not UTF-8", "")) from error
    document = Document(name, text, partial(_places, name, text))
    walk = _Walk(document)
    try:
        document.data = walk.data(_events(text))
    except yaml.YAMLError as error:
        walk.found.append(_syntax(document, text, error))
    if walk.found:
        raise FileErrors(*walk.found)
    return document


def looks_like_key(key: str) -> bool:
    """Return whether a message may name it: `PASSWORD:s3cret` in a mapping is a key, too, by mistake."""
    return _KEY.fullmatch(key) is not None


def dump(data: object, *, ascii_only: bool = False) -> str:
    """Return plain data as YAML for people, keys in the order given; `parse` reads it back as the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=not ascii_only, width=120)


def _text(dumper: yaml.representer.BaseRepresenter, text: str) -> yaml.ScalarNode:
    """Represent lines as lines; other unprintable characters are escaped, where PyYAML would write them bare."""
    odd = not text.replace("\n", "").isprintable()
    style = '"' if odd else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


class _Dumper(yaml.SafeDumper):
    """Writes shared objects twice, since `parse` refuses aliases."""

    yaml_representers = {**yaml.SafeDumper.yaml_representers, str: _text}  # noqa: RUF012 - PyYAML's own way

    def ignore_aliases(self, data: object) -> bool:
        return True


class _Walk:
    """A walk through the text: its data, its mistakes, and the positions of its parts if requested."""

    def __init__(self, document: Document, positions: Positions | None = None) -> None:
        self.found: list[FileProblem] = []
        self._document = document
        self._places = positions
        self._root: list[Any] = []
        self._stack = [_OpenCollection(self._root, ())]
        self._plain: dict[str, Any] = {}

    def data(self, events: Iterator[yaml.Event]) -> Any:
        """Return the document's content; FileErrors where a walk any further makes no sense."""
        documents = 0
        for event in events:
            if len(self.found) > MOST:
                raise FileErrors(*self.found)
            match event:
                case yaml.ScalarEvent():
                    self._scalar_met(event)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._opened(event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._stack.pop()
                case yaml.AliasEvent():
                    raise self._end(event, "aliases (*name) are not allowed")
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise self._end(event, "holds more than one document")
        return self._root[0] if self._root else None

    def _end(self, event: yaml.Event, message: str) -> FileErrors:
        return FileErrors(*self.found, self._document.problem_at(_position_of(event), message))

    def _report(self, event: yaml.Event, message: str) -> None:
        self.found.append(self._document.problem_at(_position_of(event), message))

    def _opened(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._stack) > DEEPEST:
            raise self._end(event, f"is nested deeper than {DEEPEST}")
        parent = self._stack[-1]
        if isinstance(parent.container, dict) and parent.key is None:
            raise self._end(event, "a key must be a plain text")
        if event.tag:
            self._report(event, TAGS)
        container: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_OpenCollection(container, self._add(parent, container, event)))

    def _scalar_met(self, event: yaml.ScalarEvent) -> None:
        parent = self._stack[-1]
        if isinstance(parent.container, dict) and parent.key is None:
            parent.key, parent.key_event = event.value, event
            if event.value in parent.container:
                key = f"the key {event.value!r}" if looks_like_key(event.value) else "a key"
                self._report(event, f"{key} occurs twice")
            if event.value == "<<" and event.implicit[0]:
                self._report(event, "merge keys (<<) are not allowed")
            return
        try:
            value = self._value(event)
        except ValueError as error:
            self._report(event, str(error))
            value = None
        self._add(parent, value, event)

    def _value(self, event: yaml.ScalarEvent) -> Any:
        """Return the value of a plain scalar. Most of those in a long list repeat: each is parsed, and kept, once."""
        if event.tag or not event.implicit[0]:
            return _scalar(event)
        text = event.value
        if text not in self._plain:
            self._plain[text] = _scalar(event)
        return self._plain[text]

    def _add(self, parent: _OpenCollection, value: Any, event: yaml.Event) -> Keys:
        keys = () if self._places is None else self._note(self._places, parent, event)
        if isinstance(parent.container, list):
            parent.container.append(value)
        else:
            parent.container.setdefault(parent.key or "", value)
        parent.key = parent.key_event = None
        return keys

    def _note(self, positions: Positions, parent: _OpenCollection, event: yaml.Event) -> Keys:
        """Return the path to the part which begins here."""
        if parent.container is self._root:
            keys: Keys = ()
        else:
            keys = (*parent.keys, len(parent.container) if isinstance(parent.container, list) else parent.key or "")
        positions.values[keys] = _position_of(event)
        if parent.key_event is not None:
            positions.keys[keys] = _position_of(parent.key_event)
        return keys


def _places(name: str, text: str) -> Positions:
    """Return the positions in a text without mistakes."""
    positions = Positions()
    _Walk(Document(name, text), positions).data(_events(text))
    return positions


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield the events as `yaml.parse` does, which asks twice for each."""
    loader = _LOADER(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
    finally:
        loader.dispose()


class _Scalars(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """PyYAML's own reading of plain scalars, one at a time."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def value_of(self, tag: str, text: str) -> Any:
        """Return the value as PyYAML reads it. PyYAML keeps each constructed value for aliases, without a limit; they
        are cleared at once.
        """
        value = self.construct_object(yaml.ScalarNode(tag, text))
        self.constructed_objects.clear()
        return value


_scalars = _Scalars()
_TEXT = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:merge")


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    if event.tag:
        raise ValueError(TAGS)
    if not event.implicit[0] or _BASE_60.fullmatch(event.value):
        return str(event.value)
    tag = _scalars.resolve(yaml.ScalarNode, event.value, (True, False))  # type: ignore[no-untyped-call]
    if tag in _TEXT:
        return str(event.value)
    if _OCTAL.fullmatch(event.value):
        raise ValueError("a leading 0 means base 8 in YAML: write the number without it, or as a text in quotes")
    value: str | int | float | bool | None = _scalars.value_of(tag, event.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a number that can be compared")
    if isinstance(value, int) and value not in _INTEGERS:  # one of thousands of digits can't even be shown
        raise ValueError("an integer of more than 64 bits is not allowed")
    return value


def _syntax(document: Document, text: str, error: yaml.YAMLError) -> FileProblem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML doesn't allow at all; `position` counts the bytes before it
        before = text.encode()[: getattr(error, "position", 0)].decode(errors="ignore").split("\n")
        return document.problem_at(Position(len(before), len(before[-1]) + 1), str(getattr(error, "reason", error)))
    parts = [str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return document.problem_at(Position(mark.line + 1, mark.column + 1), ", ".join(parts))


def _position_of(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
