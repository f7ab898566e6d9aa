"""Documents against types: every mistake at once, at its own place, and nothing else."""

from typing import Annotated, Literal

import pytest
from msgspec import UNSET, Meta, Struct, field

from writ_documents.document import FileErrors
from writ_documents.shapes import convert, without_mistakes
from writ_documents.yaml_file import parse


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    start: str
    days: list[Annotated[int, Meta(ge=0, le=7)]] = field(default_factory=list)


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    allowed: bool = True
    windows: list[Window] = field(default_factory=list)
    limits: dict[Annotated[str, Meta(pattern="^[a-z]+$")], int] = field(default_factory=dict)
    when: Window | None = None
    roots: list[str | Window] = field(default_factory=list)
    kind: Literal["human", "agent"] | None = None


class Policy(Struct, frozen=True, forbid_unknown_fields=True, rename={"deny": "deny_by_default"}):
    rules: list[Rule]
    deny: bool = True


class Open(Struct, frozen=True):
    name: str


def problems_of(text: str, kind: type = Policy) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        convert(parse(text.encode(), "p"), kind)
    return [str(problem) for problem in caught.value.found]


def test_a_good_document_is_its_value() -> None:
    text = "rules:\n- name: a\n  windows: [{start: 22:00, days: [1, 5]}]\n  limits: {b: 3}\ndeny_by_default: false\n"
    rule = Rule(name="a", windows=[Window(start="22:00", days=[1, 5])], limits={"b": 3})
    assert convert(parse(text.encode(), "p"), Policy) == Policy(rules=[rule], deny=False)


def test_every_mistake_is_reported_at_its_own_place() -> None:
    text = """\
rules:
  - name: ''
    allowd: true
    allowed: "yes"
  - windows:
      - start: 8
        days: [1, 9, monday]
    limits: {b: many, B2: 1}
    when: {strat: 1}
    roots: [/srv, 5, {start: 1}]
    kind: robot
  - 7
deny_by_defualt: false
"""
    assert problems_of(text) == [
        "p:2:11: expected a text with a length of at least 1",
        "p:3:5: unknown key 'allowd'; did you mean 'allowed'?",
        "p:4:14: expected true or false, got a text",
        "p:5:5: the key 'name' is missing",
        "p:6:16: expected a text, got a whole number",
        "p:7:19: expected a whole number of at most 7",
        "p:7:22: expected a whole number, got a text",
        "p:8:17: expected a whole number, got a text",
        "p:8:23: expected a text of the form '^[a-z]+$'",
        "p:9:11: the key 'start' is missing",
        "p:9:12: unknown key 'strat'; did you mean 'start'?",
        "p:10:19: expected a text or a mapping, got a whole number",
        "p:10:30: expected a text, got a whole number",
        "p:11:11: 'robot' is none of human, agent",
        "p:12:5: expected a mapping, got a whole number",
        "p:13:1: unknown key 'deny_by_defualt'; did you mean 'deny_by_default'?",
    ]


def test_a_document_of_another_kind_is_one_mistake() -> None:
    assert problems_of("- 1") == ["p:1:1: expected a mapping, got a list"]
    assert problems_of("") == ["p:1:1: is empty"]
    assert problems_of("rules: 3") == ["p:1:8: expected a list, got a whole number"]


def test_a_list_or_a_mapping_where_a_word_belongs_is_one_mistake() -> None:
    assert problems_of("rules: [{name: a, kind: [human]}]") == ["p:1:25: expected a text, got a list"]
    assert problems_of("rules: [{name: a, kind: {human: agent}}]") == ["p:1:25: expected a text, got a mapping"]
    assert problems_of("rules: [{name: a, kind: [[agent], 1]}]") == ["p:1:25: expected a text, got a list"]


def test_a_list_where_a_mapping_belongs_is_one_mistake_and_so_is_the_reverse() -> None:
    assert problems_of("rules: [{name: a, limits: [b]}]") == ["p:1:27: expected a mapping, got a list"]
    assert problems_of("rules: [{name: a, windows: {start: x}}]") == ["p:1:28: expected a list, got a mapping"]


def test_an_unknown_key_like_no_other_is_reported_with_the_known_ones() -> None:
    assert problems_of("rules: []\nzzz: 1") == ["p:2:1: unknown key 'zzz'; known are rules, deny_by_default"]


def test_a_struct_that_tolerates_unknown_keys_is_left_to_do_so() -> None:
    assert convert(parse(b"name: a\nother: 1", "p"), Open) == Open("a")
    assert problems_of("other: 1", Open) == ["p:1:1: the key 'name' is missing"]


def test_valid_parts_of_an_invalid_document_are_kept() -> None:
    window = {"start": "22:00", "dayz": [1]}
    data = {"rules": [{"name": "a", "limits": {"b": 3, "B2": 1}, "when": window, "kind": "robot"}], "zzz": 1}
    assert without_mistakes(data, Policy, {}) == {
        "rules": [{"name": "a", "limits": {"b": 3}, "when": {"start": "22:00"}}]
    }
    assert without_mistakes({"deny_by_default": True}, Policy, {}) is UNSET
    assert without_mistakes({"deny_by_default": True}, Policy, {Policy: {"rules": []}}) == {
        "rules": [],
        "deny_by_default": True,
    }
    data = {"rules": [{"name": "a", "kind": ["human"], "limits": ["b"], "windows": {"start": "22:00"}}]}
    assert without_mistakes(data, Policy, {}) == {"rules": [{"name": "a"}]}
    assert without_mistakes({"rules": [{"name": "a", "kind": {"human": "agent"}}]}, Policy, {}) == {
        "rules": [{"name": "a"}]
    }
