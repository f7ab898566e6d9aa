"""`key=value` words by the operation's schema: every form, every type, and impossible values."""

import io
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from writ_cli.operations.catalogue.parameter_words import parse
from writ_contracts.errors import Invalid
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.each_case import each_case


class Everything(Struct, kw_only=True):
    name: Annotated[str, Meta(max_length=64)] = ""
    encoding: Literal["utf-8", "base64"] = "utf-8"
    count: Annotated[int, Meta(ge=0)] | None = None
    ratio: float = 0.0
    force: bool = False
    ports: list[int] = field(default_factory=list)
    command: list[str] | None = None
    env: dict[str, str] = field(default_factory=dict)
    memory: int | str = 0
    content: str = ""
    source: dict[str, Any] | None = None


@each_case(
    ("words", "values"),
    [
        (["name=nginx"], {"name": "nginx"}),
        (["name=a=b"], {"name": "a=b"}),
        (["name="], {"name": ""}),
        (["name=12"], {"name": "12"}),
        (["count=12"], {"count": 12}),
        (["count=-3"], {"count": -3}),
        (["ratio=0.5"], {"ratio": 0.5}),
        (["force=true"], {"force": True}),
        (["force=No"], {"force": False}),
        (["ports=80,443"], {"ports": [80, 443]}),
        (["ports=80", "ports=443"], {"ports": [80, 443]}),
        (["ports="], {"ports": []}),
        (["command=sh", "command=-c"], {"command": ["sh", "-c"]}),
        (["env=A=1", "env=B=x=y"], {"env": {"A": "1", "B": "x=y"}}),
        (["memory=512"], {"memory": 512}),
        (["memory=512m"], {"memory": "512m"}),
        (["command=[a-z]"], {"command": ["[a-z]"]}),
        (["command=[::1],[fe80::1]"], {"command": ["[::1]", "[fe80::1]"]}),
        (['command:=["[1]"]'], {"command": ["[1]"]}),
        (["name=[1]"], {"name": "[1]"}),
        (["env=A={}"], {"env": {"A": "{}"}}),
        (["name=@@home"], {"name": "@home"}),
        (['source:={"a": [1, null]}'], {"source": {"a": [1, None]}}),
        (["count:=null"], {"count": None}),
        (["of_tomorrow=1"], {"of_tomorrow": "1"}),
        (["name=text:=not json"], {"name": "text:=not json"}),
    ],
)
def test_words_become_values_of_their_parameters_type(words: list[str], values: dict[str, Any]) -> None:
    assert parse(words, Everything) == values


@each_case(
    ("words", "why"),
    [
        (["nginx"], "is not key=value"),
        (["=x"], "is not key=value"),
        ([":=1"], "is not key=value"),
        (["count=many"], "count: 'many' is not a whole number"),
        (["count=1.5"], "is not a whole number"),
        (["ratio=x"], "is not a number"),
        (["force=maybe"], "is neither yes nor no"),
        (["ports=80,http"], "is not a whole number"),
        (["env=A"], "takes name=value"),
        (["name=a", "name=b"], "is given twice"),
        (["source:={"], "is not JSON"),
        (
            ['command=["/bin/busybox","sleep"]'],
            re.escape('command: JSON goes with := as in command:=["/bin/busybox","sleep"]'),
        ),
        (["command=[]"], re.escape("JSON goes with := as in command:=[], other values as command=a,b,c")),
        (["command=[sh,-c]"], "JSON goes with :="),
        (["ports=[80,443]"], "JSON goes with :="),
        (["ports=[80]"], "JSON goes with :="),
        (
            ['env={"A":"b=c"}'],
            re.escape('env: JSON goes with := as in env:={"A":"b=c"}, other values as env=name=value'),
        ),
        (["env={A=1,B=2}"], "JSON goes with :="),
        (['command=["' + "x" * 60 + '"]'], r"xx…, other"),
        (["content=@/does/not/exist"], "No such file"),
        (["count=x", "force=maybe"], "count: 'x' is not a whole number; force: 'maybe' is neither yes nor no"),
    ],
)
def test_impossible_value_is_refused_by_name(words: list[str], why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        parse(words, Everything)
    assert caught.value.code == "invalid_parameters"


def test_mistakes_of_words_and_of_the_other_parameters_are_reported_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse(["host=a b", "port=99999", "count=x"], load_catalogue()["network_test"].parameters)
    assert str(caught.value) == (
        "count: 'x' is not a whole number; host must be a host name in lower case, or an IP address in its shortest "
        "form; port must be a whole number from 1 to 65535"
    )


def test_unreadable_parameter_is_not_reported_as_missing() -> None:
    with pytest.raises(Invalid) as caught:
        parse(["size:={"], load_catalogue()["guest_resize"].parameters)
    assert str(caught.value).startswith("size: is not JSON: ")
    assert str(caught.value).endswith("; needs guest_name and disk")


def test_a_file_is_read_as_text_or_on_demand_as_base64(tmp_path: Path) -> None:
    text, binary = tmp_path / "t", tmp_path / "b"
    text.write_text("grüße\n")
    binary.write_bytes(b"\xff\x00")
    assert parse([f"content=@{text}"], Everything) == {"content": "grüße\n"}
    assert parse([f"content=@{binary}", "encoding=base64"], Everything)["content"] == "/wA="
    with pytest.raises(Invalid, match="encoding=base64"):
        parse([f"content=@{binary}"], Everything)


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert parse(["content=-"], Everything) == {"content": "from a pipe"}


def test_without_a_schema_all_is_text_but_json() -> None:
    assert parse(["a=1", "b:=1"], None) == {"a": "1", "b": 1}


@given(st.lists(st.text(max_size=30), max_size=4))
def test_parse_returns_values_or_raises_invalid_for_any_words(words: list[str]) -> None:
    harmless = [word for word in words if not word.endswith("=-") and "=@" not in word]
    try:
        assert isinstance(parse(harmless, Everything), dict)
    except Invalid as error:
        assert str(error)  # noqa: PT017 - either it parses or it says why
