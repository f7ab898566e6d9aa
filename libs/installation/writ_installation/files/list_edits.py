"""Edits of files which people edit too: comments stay, and the result is parsed before it replaces the file.

Writers take a lock of their own, so that two concurrent `writ principal add` both succeed.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from writ_contracts.errors import Conflict, Invalid
from writ_documents import entry_edits, yaml_file
from writ_documents.atomic_files import save
from writ_documents.document import Document
from writ_documents.readers import LARGEST_LIST

Edit = Callable[[str], str]
Check = Callable[[Document], object]


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
        try:
            added = entry_edits.with_new_entry(text, section, entry) if entries else None
        except Conflict:  # its lines are in a form that no edit knows
            added = None
        if added is None:
            added = _leading_comments(text) + yaml_file.dump({**data, section: [*entries, dict(entry)]})
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
