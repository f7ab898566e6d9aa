"""Handwritten files: read as meant, or refused with the place of each mistake."""

import gc
import os
import weakref
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from writ_documents.document import FileErrors, FileProblem, Position
from writ_documents.yaml_file import dump, parse, read
from writ_testing.each_case import each_case


def refused(text: str | bytes, **limits: int) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        parse(text.encode() if isinstance(text, str) else text, "policy.yaml", **limits)
    return [str(problem) for problem in caught.value.found]


@each_case(
    ("text", "value"),
    [
        ("a: 22:00", "22:00"),
        ("a: 10:30:00", "10:30:00"),
        ("a: 2026-11-24", "2026-11-24"),
        ("a: 2026-11-24T09:00:00Z", "2026-11-24T09:00:00Z"),
        ("a: yes", True),
        ("a: off", False),
        ("a: '0644'", "0644"),
        ("a: 0", 0),
        ("a: 12", 12),
        ("a: '12'", "12"),
        ("a: 1.5", 1.5),
        ("a: ~", None),
        ("a:", None),
        ("a: [1, [], {}]", [1, [], {}]),
        ("a: |\n  x\n  y\n", "x\ny\n"),
        ("a: =", "="),
        ("a: &name 1", 1),
    ],
)
def test_scalars_are_read_by_yaml_1_2(text: str, value: object) -> None:
    assert parse(text.encode(), "x").data == {"a": value}


def test_keys_are_always_text() -> None:
    assert parse(b"on: 1\n1: 2\nnull: 3", "x").data == {"on": 1, "1": 2, "null": 3}


def test_json_is_read_as_well_with_tabs_and_byte_order_mark() -> None:
    assert parse('\ufeff{\n\t"a": [1, "22:00", null, true],\n\t"b": {}}'.encode(), "x").data == {
        "a": [1, "22:00", None, True],
        "b": {},
    }


def test_places_of_keys_and_values_are_known() -> None:
    document = parse(b"targets:\n  - id: web-1\n    tags: [a,\n      b]\n", "x")
    assert document.position(("targets", 0, "id")) == Position(2, 9)
    assert document.key_position(("targets", 0, "id")) == Position(2, 5)
    assert document.position(("targets", 0, "tags", 1)) == Position(4, 7)
    assert document.position(("targets", 0, "role")) == Position(2, 5)
    assert document.key_position(("targets", 0)) == Position(2, 5)
    assert document.position(()) == Position(1, 1)


def test_a_problem_shows_the_line_and_a_caret() -> None:
    document = parse(b"a:\n  requires_aproval: true\n", "p.yaml")
    problem = document.problem(("a", "requires_aproval"), "unknown key", at_key=True)
    assert str(problem) == "p.yaml:2:3: unknown key"
    assert problem.excerpt == "    2 |   requires_aproval: true\n      |   ^"


def test_all_mistakes_that_leave_the_shape_readable_are_reported_at_once() -> None:
    assert refused("a: 1\na: 2\nb: .nan\nc: !!python/object/apply:os.system [x]\nd: {e: 1, e: 2}\n<<: {}\n") == [
        "policy.yaml:2:1: the key 'a' occurs twice",
        "policy.yaml:3:4: not a number that can be compared",
        "policy.yaml:4:4: tags are not allowed: put a text that begins with ! in quotes",
        "policy.yaml:5:11: the key 'e' occurs twice",
        "policy.yaml:6:1: merge keys (<<) are not allowed",
    ]


@each_case(
    ("text", "message"),
    [
        ("a: [1\nb: 2", "policy.yaml:2:2: while parsing a flow sequence, did not find expected ',' or ']'"),
        ("a: b: c", "policy.yaml:1:5: mapping values are not allowed in this context"),
        ("a: &x [1]\nb: *x", "policy.yaml:2:4: aliases (*name) are not allowed"),
        ("? [1]\n: 2", "policy.yaml:1:3: a key must be a plain text"),
        ("a: 1\n---\nb: 2", "policy.yaml:2:1: holds more than one document"),
        (b"a: 1\nb: \xff", "policy.yaml:2:4: is not UTF-8"),
        ("a: é\nb: \x07", "policy.yaml:2:4: control characters are not allowed"),
        ("[" * 65, "policy.yaml:1:65: is nested deeper than 64"),
        ("- " * 65 + "x", "policy.yaml:1:129: is nested deeper than 64"),
        ("a: .inf", "policy.yaml:1:4: not a number that can be compared"),
    ],
)
def test_unreadable_part_is_refused_with_its_place(text: str | bytes, message: str) -> None:
    assert refused(text) == [message]


def test_alias_bomb_is_refused_at_its_first_alias() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert refused("\n".join(levels)) == ["policy.yaml:2:10: aliases (*name) are not allowed"]


def test_size_is_limited() -> None:
    assert refused(b"a" * 101, largest=100) == ["policy.yaml:1:1: is larger than 100 bytes"]
    assert parse(b"a" * 100, "x", largest=100).data == "a" * 100


def test_a_long_line_is_shown_in_part() -> None:
    with pytest.raises(FileErrors) as caught:
        parse(b"a: [" + b"x, " * 1000 + b"*b, " + b"x, " * 1000 + b"]", "p")
    excerpt = caught.value.explained().splitlines()[1:]
    assert all(len(line) < 80 for line in excerpt)
    assert excerpt[0][excerpt[1].index("^")] == "*"


def test_a_missing_file_a_folder_and_a_pipe_are_distinguished(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("absent", "No such file"), (".", "Is a directory"), ("pipe", "is not a regular file")):
        with pytest.raises(FileErrors, match=message):
            read(tmp_path / name)


def test_a_file_is_read_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    assert (read(path).data, read(path).name) == ({"a": 1}, str(path))


text = st.text()
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_dumped_document_reads_back_the_same(data: object) -> None:
    assert parse(dump(data).encode(), "x").data == data


def test_shared_value_is_dumped_twice() -> None:
    shared = {"a": [1]}
    assert parse(dump([shared, shared]).encode(), "x").data == [shared, shared]


@given(st.binary(max_size=200) | st.text(alphabet=" \n\t-:,[]{}&*!|>'\"%@`#?ab01.~=<\\_", max_size=80).map(str.encode))
@example(b"a: " + b"1" * 5000)
@example(b"0_: 0_")
@example(b"[0b, 0x, +, -, 0x_, 1__, 0b_, .e1, +.e+1, ._]")
def test_any_bytes_give_data_or_file_errors(raw: bytes) -> None:
    try:
        found: tuple[FileProblem, ...] = (parse(raw, "x").problem(("nowhere",), "said"),)
    except FileErrors as error:
        found = error.found
    assert found
    assert all(problem.line >= 1 and problem.column >= 1 for problem in found)


def test_parsing_keeps_no_node_in_memory() -> None:
    before = nodes()
    parse(b"- [true, 1, 2.5, null, text]\n" * 100, "many")
    assert nodes() <= before


def test_unreferenced_document_is_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        document = parse(b"a: 1\n", "x")
        assert document.position(("a",)) == Position(1, 4)
        held = weakref.ref(document)
        del document
        assert held() is None
    finally:
        gc.enable()


def nodes() -> int:
    gc.collect()
    return sum(isinstance(one, yaml.Node) for one in gc.get_objects())


def test_an_octal_number_is_refused() -> None:
    """YAML 1.1 reads 8, YAML 1.2 reads 10, and the author meant one of them."""
    assert refused(b"max: 010") == [
        "policy.yaml:1:6: a leading 0 means base 8 in YAML: write the number without it, or as a text in quotes"
    ]
