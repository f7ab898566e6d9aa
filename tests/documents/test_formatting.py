"""Formatting keeps data and comments with any indents."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.errors import Conflict
from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_documents.formatting import formatted

POLICIES = Path(__file__).parents[2] / "policies"
UGLY = """

# head
policies:
    name:   example   # beside
    # above the rules
    global_policies:
    -   name: a
        operations: [service_restart,service_stop]  # two
        allowed:   true


        # end of a
    # above b
    - {name: b,allowed: false, operations: [ service_stop ]}
    description: |
        two
          lines

# tail
"""
NEAT = """# head
policies:
  name: example  # beside
  # above the rules
  global_policies:
    - name: a
      operations: [service_restart, service_stop]  # two
      allowed: true

      # end of a
    # above b
    - {name: b, allowed: false, operations: [service_stop]}
  description: |
      two
        lines

# tail
"""


def test_a_file_is_formatted_with_all_comments() -> None:
    assert formatted(UGLY) == NEAT
    assert formatted(NEAT) == NEAT


@pytest.mark.parametrize("path", sorted(POLICIES.rglob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_are_in_the_style(path: Path) -> None:
    assert formatted(path.read_text()) == path.read_text()


def test_malformed_document_is_refused() -> None:
    with pytest.raises(FileErrors):
        formatted("a: [b\n")
    with pytest.raises(FileErrors):
        formatted("a: &x 1\nb: *x\n")


SCALARS = st.sampled_from(
    ["a", "'b # no'", '"c: d"', "12", "true", "null", "'it''s'", "|\n          x\n           # text\n"]
)
VALUES = st.recursive(
    SCALARS.filter(lambda text: not text.startswith("|")) | SCALARS,
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=4,
)


@given(st.lists(st.tuples(VALUES, st.sampled_from(["", "  # c", " # d"])), min_size=1, max_size=5), st.integers(1, 6))
def test_formatting_changes_no_data_and_loses_no_comment(entries: list[tuple[object, str]], indent: int) -> None:
    text = "".join(f"k{at}:{_written(value, indent, comment)}" for at, (value, comment) in enumerate(entries))
    try:
        before = yaml_file.parse(text.encode(), "")
    except FileErrors:
        return
    try:
        made = formatted(text)
    except Conflict:
        return
    assert yaml_file.parse(made.encode(), "").data == before.data
    assert len(re.findall(r"# [cd]", made)) == len(re.findall(r"# [cd]", text))
    assert formatted(made) == made


def _written(value: object, indent: int, comment: str) -> str:
    if isinstance(value, list):
        return f"{comment}\n" + "".join(f"{' ' * indent}-{_written(each, indent + 4, '')}" for each in value)
    return f" {value}" if str(value).endswith("\n") else f" {value}{comment}\n"
