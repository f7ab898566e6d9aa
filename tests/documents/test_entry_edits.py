"""Edits of one entry by its lines: comments and order of all else stay."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from writ_contracts.errors import Conflict
from writ_documents import yaml_file
from writ_documents.entry_edits import with_entry, with_value, without_entry

TEXT = """\
# The hosts of the shop.
targets:
  # front
  - id: web1  # the first
    role: production
    tags: [a, b]  # of the proxy
    # a note in the entry

  # behind
  - id: db1
    role: staging
    note: |
      # no comment
      two lines
    tags:
    - x
    - y

  - role: testing
    id: "last"
# the end
"""


def test_removal_of_an_entry_keeps_comments_around_it() -> None:
    start, end = TEXT.index("  - id: db1"), TEXT.index("\n  - role: testing")
    kept = TEXT[:start] + TEXT[end:]
    assert without_entry(TEXT, "targets", 1) == kept
    assert "  # front\n\n  # behind\n" in without_entry(TEXT, "targets", 0)
    assert without_entry(TEXT, "targets", 2).endswith("    - y\n\n# the end\n")


def test_removal_of_the_only_entry_leaves_an_empty_list() -> None:
    text = "targets:  # mine\n- id: a\n  role: x\nmore: 1\n"
    assert without_entry(text, "targets", 0) == "targets: []  # mine\nmore: 1\n"


def test_a_value_is_replaced_with_its_trailing_comment_kept() -> None:
    assert with_value(TEXT, "targets", 0, "id", "web9") == TEXT.replace("id: web1  #", "id: web9  #")
    assert with_value(TEXT, "targets", 0, "tags", ["a", "no", "c"]) == TEXT.replace("[a, b]  #", '[a, "no", c]  #')
    assert with_value(TEXT, "targets", 2, "id", "z") == TEXT.replace('"last"', "z")


def test_edited_block_list_stays_a_block_list() -> None:
    assert with_value(TEXT, "targets", 1, "tags", ["y", "z"]) == TEXT.replace("- x\n    - y", "- y\n    - z")


def test_a_new_key_comes_last_in_its_entry() -> None:
    changed = with_value(TEXT, "targets", 1, "agent", "pool")
    assert changed == TEXT.replace("    - y\n", "    - y\n    agent: pool\n")


def test_entry_that_begins_below_its_dash_is_refused() -> None:
    with pytest.raises(Conflict, match="by hand"):
        with_value("targets:\n-\n  id: a\n- id: b\n", "targets", 0, "id", "c")


def test_windows_line_ends_and_a_missing_last_one_stay() -> None:
    text = "targets:\r\n- id: a\r\n  role: x\r\n- id: b"
    assert with_value(text, "targets", 0, "role", "y") == text.replace("x", "y")
    assert with_value(text, "targets", 1, "tags", ["c"]) == f"{text}\r\n  tags: [c]\r\n"
    assert without_entry(text, "targets", 0) == "targets:\r\n- id: b"


NOISE = st.sampled_from(["", "\n", "# note\n", "  # note - id: x\n", "\n# above\n\n"])
VALUES = st.sampled_from(
    ["x", "'it''s # no comment'", "[a, b]", "{c: 1}", "\n      d: e", "|\n      # text\n      more", "1.0"]
)


@st.composite
def lists(draw: st.DrawFn) -> list[str]:
    """A head, and the blocks of entries with what stands between them."""
    blocks = [draw(NOISE) + "targets:\n"]
    for at in range(draw(st.integers(1, 4))):
        keys = "".join(f"    k{key}: {draw(VALUES)}\n" for key in range(draw(st.integers(0, 3))))
        blocks += [draw(NOISE), f"  - id: n{at}{draw(st.sampled_from(['', ' # own']))}\n{keys}"]
    return [*blocks, draw(NOISE).lstrip(" ")]


@settings(max_examples=60, deadline=None)
@given(lists(), st.data())
def test_other_lines_stay_whatever_is_between_entries(blocks: list[str], data: st.DataObject) -> None:
    text = "".join(blocks)
    entries = yaml_file.parse(text.encode(), "").data["targets"]
    at = data.draw(st.integers(0, len(entries) - 1))
    others = [block for place, block in enumerate(blocks) if place != 2 + 2 * at]
    renamed = with_value(text, "targets", at, "id", "new")
    assert renamed == text.replace(f"- id: n{at}", "- id: new")
    if len(entries) > 1:
        # A comment below an entry that is indented like its keys is the entry's own, so none is made here.
        assert without_entry(text, "targets", at) == "".join(others)
    assert yaml_file.parse(with_value(text, "targets", at, "k9", "v").encode(), "").data["targets"][at]["k9"] == "v"


def test_an_entry_is_changed_key_by_key_and_other_lines_stay() -> None:
    text = "items:\n  - id: a  # one\n    old: 1\n    list:\n      - x\n    kept: 2  # why\n  # two\n  - id: b\n"
    changed = with_entry(text, "items", 0, {"id": "a", "kept": 2, "new": [1]})
    assert changed == "items:\n  - id: a  # one\n    kept: 2  # why\n    new:\n    - 1\n  # two\n  - id: b\n"
