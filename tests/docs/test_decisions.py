"""Decisions are one page each, numbered without a gap, with their parts, and all in the list."""

import re
from pathlib import Path

from writ_testing.each_case import each_case

FOLDER = Path(__file__).parents[2] / "docs/adr"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
PAGE = 60
LINK = re.compile(r"\[ADR (\d+)\]\((\d{4})-[\w-]+\.md\)")


@each_case("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_parts_on_one_page(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {int(path.name[:4])}. ")
    parts = [text.index(part) for part in ("\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n")]
    assert parts == sorted(parts)
    assert len(text.splitlines()) <= PAGE


@each_case("path", DECISIONS, ids=lambda path: path.stem)
def test_status_is_accepted_or_names_the_decision_that_changed_it(path: Path) -> None:
    """A change links both ways, so that the reader of either page finds the other."""
    (status,) = re.findall(r"^Status: (.*)$", path.read_text(), re.MULTILINE)
    state, _, change = status.partition("; ")
    links = LINK.findall(status)
    assert (state == "accepted" and bool(change) == bool(links)) or (state.startswith("superseded by ") and links)
    for number, file in links:
        assert int(number) == int(file)
        (other,) = FOLDER.glob(f"{file}-*.md")
        assert path.name in other.read_text(), f"{other.name} does not name {path.name}"


def test_index_lists_all_decisions_in_order() -> None:
    listed = re.findall(r"^\| \[\d{4}\]\((\S+)\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert listed == [path.name for path in DECISIONS]
    assert [int(name[:4]) for name in listed] == list(range(1, len(listed) + 1))
