"""docs/requests.md is true: it lists every field, event and query, and its signature holds."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from writ_contracts.decisions import Subject
from writ_contracts.errors import Untrusted
from writ_contracts.ids import operation_id
from writ_contracts.inventory import Principal
from writ_contracts.journal import OperationEvent, Outcome
from writ_contracts.questions import QUESTIONS
from writ_contracts.registry import CHANNELS
from writ_contracts.requests import Request
from writ_contracts.wire import MSGPACK, decode
from writ_policy.decisions.statements import check_statement

TEXT = (Path(__file__).parents[2] / "docs/requests.md").read_text()
ISSUED_AT = 1767225600.0


def block(opening: str) -> str:
    (found,) = re.findall(rf"^```{opening}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def printed() -> tuple[str, str]:
    """Return the example's output according to the document."""
    name, request = TEXT.rsplit("```\n", 2)[1].splitlines()
    return name, request


def signed_subject(**changed: Any) -> Subject:
    request = decode(printed()[1].encode(), Request)
    subject = Subject(
        operation_id=printed()[0],
        principal="alice",
        key=request.statement.key if request.statement else "",
        operation="service_restart",
        target=request.target,
        parameters=request.parameters,
        parameters_key="0" * 64,
        idempotency_key=request.idempotency_key,
        statement=request.statement,
        salt=request.salt,
    )
    return replace(subject, **changed)


def believed(subject: Subject, at: float = ISSUED_AT) -> bool:
    return check_statement(
        subject, Principal(id="alice", kind="human", key=subject.key), at, "ve3hzgfxs5bq2m7ko4jt6wnaey"
    )


def test_the_example_prints_what_the_document_says_without_any_package_of_writ() -> None:
    script = block("python")
    assert "import writ" not in script
    assert "from writ" not in script
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=30)
    assert tuple(run.stdout.splitlines()) == printed()


def test_policy_accepts_the_example_and_no_other_request_with_its_signature() -> None:
    assert believed(signed_subject())
    for changed in ({"target": "web-2"}, {"parameters": {"service_name": "ssh", "timeout": 60}}, {"salt": "0" * 64}):
        with pytest.raises(Untrusted):
            believed(signed_subject(**changed))
    with pytest.raises(Untrusted, match="before it came"):
        believed(signed_subject(), at=ISSUED_AT + 301)


def test_the_id_of_the_example_is_the_one_that_writ_gives() -> None:
    assert printed()[0] == operation_id("alice", "restart-1")


def test_every_field_of_a_request_is_in_the_table_and_no_other() -> None:
    table = TEXT.split("| field |")[1].split("\n\n")[0]
    named = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }
    assert named == set(Request.__struct_fields__)


def test_every_event_and_outcome_is_named() -> None:
    events = TEXT.split("## Events")[1].split("##")[0]
    kinds = {str(kind.__struct_config__.tag) for kind in get_args(OperationEvent)}
    assert {name for name in kinds | set(get_args(Outcome)) if f"`{name}`" not in events} == set()


def test_every_query_is_in_the_table_and_no_other() -> None:
    table = TEXT.split("## Queries")[1].split("##")[0]
    named = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert named == {one.address.rsplit(".")[-1] for one in CHANNELS if one.name.startswith("query_")}


def test_every_field_of_a_query_is_named() -> None:
    queries = TEXT.split("## Queries")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", queries, re.MULTILINE))
    rows["policy_explain"] += rows["policy_can_i"]
    rows["search"] += queries.split("**Filters of `search`.**")[1].split("\n\n")[0]
    unnamed = {
        query.kind: [
            name for name in query.message.__struct_fields__ if not re.search(rf"\b{name}\b", rows[query.kind])
        ]
        for query in QUESTIONS
    }
    assert {kind: names for kind, names in unnamed.items() if names} == {}


def test_a_signed_request_may_come_as_messagepack_as_well() -> None:
    import msgspec

    packed = msgspec.msgpack.encode(msgspec.json.decode(printed()[1].encode()))
    assert decode(packed, Request, content_type=MSGPACK) == decode(printed()[1].encode(), Request)
