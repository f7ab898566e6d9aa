"""Edits of files which people edit too: comments stay, and the result is parsed before it replaces the file.

Writers take a lock of their own, so that two concurrent `writ principal add` both succeed.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from writ_contracts.errors import ConfigError, Conflict, Invalid
from writ_documents import entry_edits, yaml_file
from writ_documents.atomic_files import save
from writ_documents.document import Document
from writ_documents.readers import LARGEST_LIST

Edit = Callable[[str], str]
Check = Callable[[Document], object]
_item = re.compile(r"^( *)- ", re.MULTILINE)


def write(path: Path, head: str, data: Mapping[str, Any]) -> None:
    """Write a new file, its comment first."""
    save(path, (head + yaml_file.dump(data)).encode())


def append(path: Path, section: str, entry: Mapping[str, Any], *, unique: str) -> None:
    """Append an entry to the list `section`; raises Conflict where one with the same `unique` field is there."""
    with _edited(path):
        text = path.read_text()
        data = yaml_file.parse(text.encode(), str(path)).data or {}
        entries = data.get(section) or []
        if any(other.get(unique) == entry[unique] for other in entries):
            raise Conflict(f"{path}: {unique} {entry[unique]!r} exists already")
        expected = {**data, section: [*entries, dict(entry)]}
        added = _with_block(text, entry)
        if not _reads_as(added, expected):  # the list is empty, or in flow style, or not the last thing in the file
            added = _leading_comments(text) + yaml_file.dump(expected)
        save(path, added.encode())


def change(path: Path, edit: Edit, check: Check) -> None:
    """Replace the file by its text after the edit, if `check` takes it. Raises Conflict where somebody else wrote the
    file meanwhile.
    """
    with _edited(path):
        before = yaml_file.content(path, largest=LARGEST_LIST)
        yaml_file.parse(before, str(path), largest=LARGEST_LIST)
        text = before.decode()
        mark = text[: text.startswith("\ufeff")]
        changed = (mark + edit(text.removeprefix("\ufeff"))).encode()
        check(yaml_file.parse(changed, str(path), largest=LARGEST_LIST))
        if path.read_bytes() != before:
            raise Conflict(f"{path} was changed by another process meanwhile; nothing was written")
        save(path, changed)


def replace(
    path: Path, section: str, entry: Mapping[str, Any] | None, *, unique: str, value: str, check: Check = lambda _: None
) -> None:
    """Change the entry whose `unique` field is `value` to this one, or remove it; lines of others and comments stay.

    Raises Invalid where there is none, and Conflict (`by_hand`) where it shares its lines with others.
    """

    def edited(text: str) -> str:
        entries = (yaml_file.parse(text.encode(), str(path), largest=LARGEST_LIST).data or {}).get(section) or []
        at = next((at for at, other in enumerate(entries) if other.get(unique) == value), None)
        if at is None:
            raise Invalid(f"{path}: there is no {unique} {value!r}")
        if entry is None:
            return entry_edits.without_entry(text, section, at)
        return entry_edits.with_entry(text, section, at, entry)

    change(path, edited, check)


def _with_block(text: str, entry: Mapping[str, Any]) -> str:
    items = _item.findall(text)
    indent = min(items, key=len) if items else ""
    block = "".join(f"{indent}{line}\n" for line in yaml_file.dump([dict(entry)]).splitlines())
    return text.rstrip("\n") + "\n" + block


def _reads_as(text: str, expected: Mapping[str, Any]) -> bool:
    try:
        return bool(yaml_file.parse(text.encode(), "").data == expected)
    except ConfigError:
        return False


def _leading_comments(text: str) -> str:
    lines = text.splitlines(keepends=True)
    end = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join(lines[:end])


@contextmanager
def _edited(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
