"""Edits of one entry in a list of a YAML file written by people: the lines of all others stay as they are.

An entry is found by its position and indentation, one in flow style by its brackets (`flow_edits`). The result is read
before it is returned: an edit whose result is not exactly the intended data is refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from writ_contracts.errors import ConfigError, Conflict
from writ_documents import flow_edits, yaml_file
from writ_documents.document import LINE_END, Document, Keys

_LINE = re.compile(rf".*?(?:{LINE_END.pattern}|\Z)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_COMMENT = re.compile(r"[ \t]+#")
Span = tuple[int, int]
"""The first line, from 0, and the one after the last."""


def without_entry(text: str, section: str, at: int) -> str:
    """Return the text without an entry, comments above it kept. Raises Conflict."""
    document, lines = _parsed(text), _lines(text)
    entries = document.data[section]
    left = [*entries[:at], *entries[at + 1 :]]
    if (start := _flow_start(document, lines, (section,))) is not None:
        return _verified(flow_edits.without_item("".join(lines), start, at), {**document.data, section: left})
    first, after = _entry(document, lines, section, at)
    kept = [*lines[:first], *lines[after:]]
    if not left:
        line = document.key_position((section,)).line - 1
        kept[line] = kept[line].replace(f"{section}:", f"{section}: []", 1)
    return _verified("".join(kept), {**document.data, section: left})


def with_new_entry(text: str, section: str, entry: Mapping[str, Any]) -> str:
    """Return the text with an entry more, behind the last one of a list that is not empty. Raises Conflict."""
    document, lines = _parsed(text), _lines(text)
    entries = document.data[section]
    expected = {**document.data, section: [*entries, dict(entry)]}
    if (start := _flow_start(document, lines, (section,))) is not None:
        return _verified(flow_edits.with_item("".join(lines), start, dict(entry), _word), expected)
    span = _entry(document, lines, section, len(entries) - 1)
    indent = " " * lines[span[0]].index("-")
    return _verified("".join(_inserted(lines, span, indent, yaml_file.dump([dict(entry)]).splitlines())), expected)


def with_value(text: str, section: str, at: int, key: str, value: Any) -> str:
    """Return the text with a value of a key in an entry, in place of its former one if any. Raises Conflict."""
    return with_values(text, section, {at: (key, value)})


def with_values(text: str, section: str, changes: Mapping[int, tuple[str, Any]]) -> str:
    """Change several entries as `with_value` does, each by a key and a value."""
    document, lines = _parsed(text), _lines(text)
    entries = list(document.data[section])
    for at in sorted(changes, reverse=True):  # from below: the positions of those above stay
        key, value = changes[at]
        lines = _changed(document, lines, (section, at, key), value)
        entries[at] = {**entries[at], key: value}
    return _verified("".join(lines), {**document.data, section: entries})


def with_entry(text: str, section: str, at: int, entry: Mapping[str, Any]) -> str:
    """Return the text with an entry changed to this one: only keys whose values differ. Raises Conflict."""
    before = _parsed(text).data[section][at]
    for key in [key for key in before if key not in entry]:
        text = without_value(text, section, at, key)
    for key, value in entry.items():
        if key not in before or before[key] != value:
            text = with_value(text, section, at, key, value)
    return text


def without_value(text: str, section: str, at: int, key: str) -> str:
    """Return the text without a key of an entry. Raises Conflict, also for the key in the entry's first line."""
    document, lines = _parsed(text), _lines(text)
    entries = list(document.data[section])
    entries[at] = {name: value for name, value in entries[at].items() if name != key}
    if (start := _flow_start(document, lines, (section, at))) is not None:
        return _verified(flow_edits.without_key("".join(lines), start, key), {**document.data, section: entries})
    first, after = _entry(document, lines, section, at)
    place = document.key_position((section, at, key))
    if place.line - 1 == first:
        raise _refusal()
    end = _end(lines, place.line - 1, after, place.column - 1, items=True)
    return _verified("".join([*lines[: place.line - 1], *lines[end:]]), {**document.data, section: entries})


def _changed(document: Document, lines: list[str], keys: tuple[str, int, str], value: Any) -> list[str]:
    section, at, key = keys
    if (start := _flow_start(document, lines, (section, at))) is not None:
        return _lines(flow_edits.with_key("".join(lines), start, key, value, _word))
    span = _entry(document, lines, section, at)
    if key in document.data[section][at]:
        return _replaced(document, lines, span, keys, value)
    column = document.position((section, at)).column
    return _inserted(lines, span, " " * (column - 1), _flow(key, value))


def _flow_start(document: Document, lines: list[str], keys: Keys) -> int | None:
    """Return the index at which a value in flow style begins; None for one in block style."""
    place = document.position(keys)
    start = sum(map(len, lines[: place.line - 1])) + place.column - 1
    return start if flow_edits.is_flow("".join(lines[place.line - 1 : place.line]), place.column - 1) else None


def _entry(document: Document, lines: list[str], section: str, at: int) -> Span:
    place = document.position((section, at))
    first = place.line - 1
    before = lines[first][: place.column - 1]
    if before.strip(" ") != "-":
        raise _refusal()
    return first, _end(lines, first, len(lines), before.index("-"))


def _end(lines: list[str], first: int, last: int, indent: int, *, items: bool = False) -> int:
    """Return the line after those indented deeper than the first. `items`: those of a list at the same
    indentation belong to it.
    """
    end = first + 1
    for at in range(first + 1, last):
        content = lines[at].strip()
        depth = len(lines[at]) - len(lines[at].lstrip(" "))
        if content and depth <= indent and not (items and depth == indent and re.match(r"-(\s|$)", content)):
            break
        end = at + 1 if content else end
    return end


def _replaced(document: Document, lines: list[str], span: Span, keys: tuple[str, int, str], value: Any) -> list[str]:
    section, at, key = keys
    place = document.key_position(keys)
    first, indent = place.line - 1, place.column - 1
    after = _end(lines, first, span[1], indent, items=True)
    body, end = _split(lines[first])
    old = document.data[section][at][key]
    comment = _trailing_comment(body[indent:], ({key: old}, {key: None}))
    dumped = _flow(key, value) if after == first + 1 else yaml_file.dump({key: value}).splitlines()
    new = [body[:indent] + dumped[0] + comment, *(" " * indent + line for line in dumped[1:])]
    # The last line of a file may have no end.
    ends = [end or _split(lines[0])[1]] * (len(new) - 1) + [end if after == first + 1 else _split(lines[after - 1])[1]]
    return [*lines[:first], *(line + mark for line, mark in zip(new, ends, strict=True)), *lines[after:]]


def _inserted(lines: list[str], span: Span, indent: str, added: Iterable[str]) -> list[str]:
    last, end = _split(lines[span[1] - 1])
    mark = end or _split(lines[0])[1]
    return [*lines[: span[1] - 1], last + mark, *(f"{indent}{line}{mark}" for line in added), *lines[span[1] :]]


def _trailing_comment(text: str, meanings: Iterable[dict[str, Any]]) -> str:
    """Return the comment behind a key and its value, with the space before it."""
    for found in _COMMENT.finditer(text):
        if any(_reads_as(text[: found.start()], meaning) for meaning in meanings):
            return text[found.start() :]
    return ""


def _flow(key: str, value: Any) -> list[str]:
    """Return key and value; a list of words in one line."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [f"{key}: [{', '.join(map(_word, value))}]"]
    return yaml_file.dump({key: value}).splitlines()


def _word(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and _parsed(text).data == text
    return text if plain else msgspec.json.encode(text).decode()


def _parsed(text: str) -> Document:
    return yaml_file.parse(text.encode(), "", largest=len(text) * 4)


def _lines(text: str) -> list[str]:
    return list(_all_lines(text.removeprefix("\ufeff")))


def _all_lines(text: str) -> Iterator[str]:
    return (found[0] for found in _LINE.finditer(text) if found[0])


def _split(line: str) -> tuple[str, str]:
    found = LINE_END.search(line)
    return (line[: found.start()], found[0]) if found else (line, "")


def _verified(text: str, expected: Any) -> str:
    if not _reads_as(text, expected):
        raise _refusal()
    return text


def _reads_as(text: str, expected: Any) -> bool:
    """Compare as JSON: to Python, 1 and 1.0 and true are equal."""
    try:
        found = _parsed(text).data
    except ConfigError:
        return False
    return msgspec.json.encode(found) == msgspec.json.encode(expected)


def _refusal() -> Conflict:
    text = "the entry shares a line with others or does not begin in the line of its `-`: edit the file by hand"
    return Conflict(text, code="by_hand")
