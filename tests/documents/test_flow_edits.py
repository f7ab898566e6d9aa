"""Edits of entries in flow style (`{id: a, tags: [b]}`, JSON): everything but the edited part stays as it is."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from writ_documents import yaml_file
from writ_documents.entry_edits import with_entry, with_new_entry, with_value, with_values, without_entry, without_value

LINES = """\
# the hosts
targets:
  - {id: web-1, role: web, tags: [a, b]}  # the first
  - {id: web-2,  # the second
     connection: {host: h, port: 22}, note: "a, {b}",
     }
  - id: db-1
    role: db
"""


def test_value_of_an_entry_in_flow_style_is_replaced_in_its_place() -> None:
    assert with_value(LINES, "targets", 0, "tags", ["c", "no"]) == LINES.replace("[a, b]", '[c, "no"]')
    assert with_value(LINES, "targets", 0, "role", "db") == LINES.replace("role: web", "role: db")
    other = {"host": "h", "port": 23}
    assert with_value(LINES, "targets", 1, "connection", other) == LINES.replace("port: 22", "port: 23")


def test_new_key_of_an_entry_in_flow_style_comes_last() -> None:
    assert with_value(LINES, "targets", 0, "agent", "x y") == LINES.replace("[a, b]}", '[a, b], agent: "x y"}')
    assert with_value(LINES, "targets", 1, "agent", "x") == LINES.replace('{b}",', '{b}", agent: x,')
    assert with_value("targets: [{}]", "targets", 0, "id", "a") == "targets: [{id: a}]"
    assert with_value("targets: [{id: }]", "targets", 0, "role", "a") == "targets: [{id: , role: a }]"
    assert with_value("targets: [{id: }]", "targets", 0, "id", "a") == "targets: [{id: a }]"


def test_key_and_entry_in_flow_style_are_removed_without_a_trace() -> None:
    assert without_value(LINES, "targets", 0, "role") == LINES.replace("role: web, ", "")
    assert without_value(LINES, "targets", 0, "tags") == LINES.replace(", tags: [a, b]", "")
    assert without_entry(LINES, "targets", 0) == LINES.replace(
        "  - {id: web-1, role: web, tags: [a, b]}  # the first\n", ""
    )
    one_line = "targets: [{id: a}, {id: b}, {id: c}]  # all\n"
    assert without_entry(one_line, "targets", 1) == "targets: [{id: a}, {id: c}]  # all\n"
    assert without_entry(one_line, "targets", 2) == "targets: [{id: a}, {id: b}]  # all\n"
    assert without_entry("targets: [{id: a}]\n", "targets", 0) == "targets: []\n"


def test_entries_in_flow_and_in_block_style_are_changed_together() -> None:
    changed = with_values(LINES, "targets", {0: ("id", "x"), 2: ("gateway", "x")})
    assert changed == LINES.replace("web-1", "x").replace("role: db\n", "role: db\n    gateway: x\n")


def test_json_stays_json() -> None:
    text = '{"targets": [{"id": "a", "tags": ["x"]}, {"id": "b"}]}'
    changed = with_entry(text, "targets", 0, {"id": "a", "role": "testing", "docker": {}})
    assert json.loads(changed)["targets"][0] == {"id": "a", "role": "testing", "docker": {}}
    assert changed == '{"targets": [{"id": "a", "role": "testing", "docker": {}}, {"id": "b"}]}'


def test_new_entry_comes_last_in_the_style_of_the_list() -> None:
    assert (
        with_new_entry("targets: [{id: a}]  # all\n", "targets", {"id": "b"}) == "targets: [{id: a}, {id: b}]  # all\n"
    )
    assert (
        with_new_entry('{"targets": [{"id": "a"}]}', "targets", {"id": "b"})
        == '{"targets": [{"id": "a"}, {"id": "b"}]}'
    )
    text = "targets:\n  - {id: a}  # one\n# behind\nother: 1\n"
    assert with_new_entry(text, "targets", {"id": "b"}) == text.replace("# behind", "  - id: b\n# behind")


WORDS = st.sampled_from(["x", "no", "1", "a b", "it's", "{", "# no comment", "ä", "a: b", ""])
SCALARS = WORDS | st.integers(-9, 9) | st.booleans() | st.none()
LISTS = st.lists(SCALARS | st.lists(SCALARS, max_size=2), max_size=3)
VALUES = SCALARS | LISTS | st.dictionaries(st.sampled_from(["h", "p q", "no"]), SCALARS | LISTS, max_size=2)
ENTRIES = st.lists(
    st.dictionaries(st.sampled_from(["id", "role", "tags", "c d"]), VALUES, min_size=1), min_size=1, max_size=4
)


def flow(value: Any, gap: str) -> str:
    """Return the value in flow style, with this between its parts."""
    if isinstance(value, dict):
        return f"{{{f',{gap}'.join(f'{flow(key, gap)}: {flow(one, gap)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{f',{gap}'.join(flow(one, gap) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)


@settings(max_examples=150, deadline=None)
@given(ENTRIES, VALUES, st.sampled_from([" ", "", "  # note\n   ", "\n   "]), st.booleans(), st.data())
def test_edited_text_has_exactly_the_intended_data(
    entries: list[dict[str, Any]], value: Any, gap: str, blocks: bool, data: st.DataObject
) -> None:
    shown = [flow(entry, gap) for entry in entries]
    text = "targets:\n" + "".join(f"- {one}\n" for one in shown) if blocks else f"targets: [{f',{gap}'.join(shown)}]\n"
    at = data.draw(st.integers(0, len(entries) - 1))
    key = data.draw(st.sampled_from(["id", "role", "new"]))
    after = [*entries[:at], {**entries[at], key: value}, *entries[at + 1 :]]
    changed = with_value(text, "targets", at, key, value)
    assert yaml_file.parse(changed.encode(), "").data == {"targets": after}
    assert changed.count("# note") >= text.count("# note") - flow(entries[at].get(key), gap).count("# note")
    left = [*entries[:at], *entries[at + 1 :]]
    assert yaml_file.parse(without_entry(text, "targets", at).encode(), "").data == {"targets": left}
    gone = data.draw(st.sampled_from(sorted(entries[at])))
    less = {name: one for name, one in entries[at].items() if name != gone}
    without = yaml_file.parse(without_value(text, "targets", at, gone).encode(), "").data["targets"]
    assert without == [*entries[:at], less, *entries[at + 1 :]]
