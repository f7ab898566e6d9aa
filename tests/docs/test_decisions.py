"""Decisions are one page each, numbered without a gap, with their parts, and all in the list."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs/adr"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
PAGE = 60


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_parts_on_one_page(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {int(path.name[:4])}. ")
    parts = [text.index(part) for part in ("\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n")]
    assert parts == sorted(parts)
    assert len(text.splitlines()) <= PAGE


def test_the_list_has_all_of_them_in_order() -> None:
    listed = re.findall(r"^\| \[\d{4}\]\((\S+)\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert listed == [path.name for path in DECISIONS]
    assert [int(name[:4]) for name in listed] == list(range(1, len(listed) + 1))
