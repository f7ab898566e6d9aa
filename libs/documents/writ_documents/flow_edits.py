"""Edits of mappings and lists in flow style (`{id: a, tags: [b]}`, and so JSON) within a YAML text.

Each function replaces, adds or removes one part by its place in the text; all other characters stay, comments too.
Nothing here checks the result: `entry_edits` reads it before it is returned.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import yaml
from msgspec import Struct

_JSON_KEY = re.compile(r'[{\s]*"')
Word = Callable[[str], str]
"""Writes a text as a plain word if it can be one, else in quotes."""


class FlowItem(Struct, frozen=True):
    """An item of a list, or a key with its value: indexes into the text. `value` is where the value begins."""

    start: int
    value: int
    end: int
    key: str = ""


class FlowPart(Struct, frozen=True):
    """A mapping or list in flow style: its items in order. `start` is the index of its opening bracket."""

    start: int
    items: list[FlowItem]


class FlowNode(Struct, frozen=True):
    """A key or a value, by its place in the text; `text` is that of a scalar."""

    start: int
    end: int
    text: str


def is_flow(text: str, start: int) -> bool:
    """Return whether the value that begins here is in flow style: no key begins so, since keys are texts."""
    return text[start : start + 1] in ("{", "[")


def with_key(text: str, start: int, key: str, value: Any, word: Word) -> str:
    """Return the text with this value of a key in the mapping that begins at `start`."""
    mapping = _part(text, start)
    quoted = _JSON_KEY.match(text, start) is not None
    written = _written(value, _json if quoted else word)
    for item in mapping.items:
        if item.key == key:
            return text[: item.value] + _space(text, item.value) + written + text[item.end :]
    added = f"{_json(key) if quoted else word(key)}: {written}"
    if not mapping.items:
        return text[: start + 1] + added + text[start + 1 :]
    end = mapping.items[-1].end
    return f"{text[:end]}{_space(text, end)}, {added}{text[end:]}"


def without_key(text: str, start: int, key: str) -> str:
    """Return the text without a key of the mapping that begins at `start`."""
    mapping = _part(text, start)
    return _without(text, mapping, [item.key for item in mapping.items].index(key))


def with_item(text: str, start: int, value: Any, word: Word) -> str:
    """Return the text with an item more at the end of the list that begins at `start`, which is not empty."""
    last = _part(text, start).items[-1]
    written = _written(value, _json if _JSON_KEY.match(text, last.start) else word)
    return f"{text[: last.end]}, {written}{text[last.end :]}"


def without_item(text: str, start: int, at: int) -> str:
    """Return the text without an item of the list that begins at `start`."""
    return _without(text, _part(text, start), at)


def _without(text: str, part: FlowPart, at: int) -> str:
    gone = part.items[at]
    if at + 1 < len(part.items):
        return text[: gone.start] + text[part.items[at + 1].start :]
    return text[: part.items[at - 1].end if at else gone.start] + text[gone.end :]


def _space(text: str, at: int) -> str:
    """Return the space that has to follow the colon of a key without a value."""
    return " " if text[at - 1] == ":" else ""


def _part(text: str, start: int) -> FlowPart:
    """Read one mapping or list; what follows it is not read."""
    nodes = list(_nodes(text, start))
    if text[start] == "[":
        return FlowPart(
            start=start, items=[FlowItem(start=node.start, value=node.start, end=node.end) for node in nodes]
        )
    pairs = zip(nodes[::2], nodes[1::2], strict=True)
    items = [FlowItem(start=key.start, value=value.start, end=value.end, key=key.text) for key, value in pairs]
    return FlowPart(start=start, items=items)


def _nodes(text: str, start: int) -> Iterator[FlowNode]:
    """Yield the keys and values directly inside the collection that begins at `start`, in order."""
    opened = list[int]()
    for event in _events(text[start:]):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_index(start, event.start_mark))
            continue
        first = opened.pop() if isinstance(event, yaml.CollectionEndEvent) else _index(start, event.start_mark)
        if not opened:
            return
        if len(opened) == 1:
            yield FlowNode(first, _index(start, event.end_mark), str(getattr(event, "value", "")))


def _index(start: int, mark: Any) -> int:
    return start + int(mark.index)


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield the events inside the document. PyYAML's own loader: its marks have the index of a character."""
    loader = yaml.SafeLoader(text)
    try:
        while (event := loader.get_event()) is not None:  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                yield event
    finally:
        loader.dispose()


def _written(value: Any, word: Word) -> str:
    match value:
        case str():
            return word(value)
        case list():
            return f"[{', '.join(_written(item, word) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{word(key)}: {_written(item, word)}' for key, item in value.items())}}}"
        case _:
            return _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
