"""Formatting of YAML files that people write: one style, line by line, so that every comment stays.

Two spaces of indent, lists below their keys, one space after `-`, `:` and `,`, two before a comment, at most one blank
line. The result is read before it is returned: a text whose data or comments would differ is refused.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import msgspec
import yaml
from msgspec import Struct, field

from writ_contracts.errors import Conflict
from writ_documents import yaml_file
from writ_documents.document import LINE_END

_COMMENT = re.compile(r"#[^\n]*")
INDENT = 2
MOST_LINES = 1_000
"""Lines above a comment among which its entry is looked for."""


class BlockEntry(Struct, frozen=True):
    """An item of a list, or a key of a mapping, in block style: its old and new column."""

    column: int
    new: int
    value: yaml.Node
    dash: bool = False


class Layout(Struct):
    """The parts of a text by line: entries in order, the column of a comment, and lines inside of texts."""

    entries: dict[int, list[BlockEntry]] = field(default_factory=dict)
    comments: dict[int, int] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    dashes: list[tuple[int, int, int]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def formatted(text: str, name: str = "file") -> str:
    """Return the text in the one style. Raises FileErrors for a text that is no document, Conflict where the comments
    can't be kept.
    """
    before = yaml_file.parse(text.encode(), name)
    text = "\n".join(LINE_END.split(text.removeprefix("\ufeff")))
    layout = _layout(text)
    made = "\n".join(_lines(text.split("\n"), layout)) + "\n"
    same = msgspec.json.encode(before.data) == msgspec.json.encode(yaml_file.parse(made.encode(), name).data)
    if not same or _comment_texts(text, layout) != _comment_texts(made, _layout(made)):
        raise Conflict(f"{name} can't be formatted without changing more than its style", code="by_hand")
    return made


def _layout(text: str) -> Layout:
    layout, at = Layout(), 0
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start, end = token.start_mark, token.end_mark
        # Between two tokens stand white space and comments, and nothing else.
        for found in _COMMENT.finditer(text, at, max(at, start.index)):
            line = bisect_right(starts, found.start()) - 1
            layout.comments[line] = found.start() - starts[line]
        if isinstance(token, yaml.BlockEntryToken):
            layout.dashes.append((start.index, start.line, start.column))
        if isinstance(token, yaml.ScalarToken):
            block = token.style in ("|", ">") and end.column == 0
            layout.inside.update(range(start.line + 1, end.line + (not block)))
        at = max(at, end.index)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is not None:
        _note(layout, node, 0)
    for entries in layout.entries.values():
        entries.sort(key=lambda entry: entry.column)
    layout.lines = sorted(layout.entries)
    return layout


def _note(layout: Layout, node: yaml.Node, column: int) -> None:
    """Note the entries of a collection in block style, and of those below it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _, line, old = layout.dashes[bisect_left(layout.dashes, (item.start_mark.index, 0, 0)) - 1]
            layout.entries.setdefault(line, []).append(BlockEntry(old, column, item, dash=True))
            _note(layout, item, column + INDENT)
        return
    for key, value in node.value:
        mark = key.start_mark
        layout.entries.setdefault(mark.line, []).append(BlockEntry(mark.column, column, value))
        _note(layout, value, column + INDENT)


def _lines(lines: list[str], layout: Layout) -> Iterator[str]:
    shift, blank, begun = 0, False, False
    for number, line in enumerate(lines):
        if not line.strip() and number not in layout.inside:
            blank = begun
            continue
        if blank:
            yield ""
        blank, begun = False, True
        entries = layout.entries.get(number)
        if entries is not None:
            shift = entries[0].new - entries[0].column
            yield _entry_line(line, number, entries, layout)
        elif number in layout.inside:
            yield _shifted(line, shift)
        elif layout.comments.get(number) == len(line) - len(line.lstrip()):
            yield " " * _comment_column(number, layout) + line.strip()
        else:
            yield _shifted(line, shift).rstrip()


def _shifted(line: str, shift: int) -> str:
    if not line.strip():
        return line if shift >= 0 else line[-shift:]
    return " " * shift + line if shift >= 0 else line[min(-shift, len(line) - len(line.lstrip())) :]


def _entry_line(line: str, number: int, entries: list[BlockEntry], layout: Layout) -> str:
    last, comment = entries[-1], layout.comments.get(number)
    end = len(line) if comment is None else comment
    dashes = "- " * sum(entry.dash for entry in entries)
    rest = _spaced(line[last.column : end].strip(), last, number)
    text = f"{' ' * entries[0].new}{dashes}{rest}".rstrip()
    return text if comment is None else f"{text}  {line[comment:].rstrip()}"


def _spaced(rest: str, entry: BlockEntry, number: int) -> str:
    """Return a key and its value with one space between, or the value of an item; a list or mapping in one line with
    its own spaces.
    """
    value = entry.value
    here = value.start_mark.line == number and value.start_mark.index < value.end_mark.index
    start = value.start_mark.column - entry.column if here else len(rest)
    shown = rest[start:]
    if here and value.end_mark.line == number and isinstance(value, yaml.CollectionNode) and value.flow_style:
        shown = _flow(value)
    return shown if entry.dash else f"{rest[:start].rstrip()} {shown}"


def _flow(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        buffer = node.start_mark.buffer
        if buffer is None:
            return str(node.value)
        return str(buffer[node.start_mark.pointer : node.end_mark.pointer])
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(map(_flow, node.value))}]"
    return f"{{{', '.join(f'{_flow(key)}: {_flow(value)}'.rstrip() for key, value in node.value)}}}"


def _comment_column(number: int, layout: Layout) -> int:
    """Return the new column of a comment on a line of its own: that of the entry it is beside."""
    column, lines = layout.comments[number], layout.lines
    at = bisect_left(lines, number)
    after = layout.entries[lines[at]][0] if at < len(lines) else None
    if after is not None and after.column == column:
        return after.new
    for line in reversed(lines[max(0, at - MOST_LINES) : at]):
        for entry in layout.entries[line]:
            if entry.column == column:
                return entry.new
    return after.new if after is not None else 0


def _comment_texts(text: str, layout: Layout) -> list[str]:
    lines = text.split("\n")
    return [lines[line][column:].rstrip() for line, column in sorted(layout.comments.items())]
