"""A trace shows a signature only if it is valid, and marks invalid ones."""

import io
from typing import Annotated, Any, TypeVar

import pytest
from msgspec import Raw, Struct, json, structs
from rich.console import Console
from tests.contracts.messages import sample

from writ_cli.operations.records.timeline import INVALID_SIGNATURE, _details, show
from writ_cli.operations.running import output_labels
from writ_cli.terminal.output import Screen
from writ_contracts import journal
from writ_contracts.agents import Claim, ProbeFinding, Receipt
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.decisions import Decision, Grant
from writ_contracts.errors import ConfigError
from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.operations import Catalogue
from writ_contracts.parameters import KEYED, Output
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_testing.each_case import each_case
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

T = TypeVar("T", bound=Struct)


def _sample(kind: type[T]) -> T:
    made = sample(kind)
    assert isinstance(made, kind)
    return made


ALICE, POLICY, AGENT, THIEF = (Key(generate_seed()) for _ in range(4))
ID, OTHER = "a" * 26, "b" * 26
DECISION = structs.replace(sample(Decision), operation_id=ID)
STATEMENT = structs.replace(sample(RequestStatement), principal="alice", operation="file_delete", target="web-1")
REQUESTED: journal.Requested = structs.replace(
    _sample(journal.Requested),
    operation_id=ID,
    principal="alice",
    operation="file_delete",
    target="web-1",
    key=ALICE.public,
    statement=sign(ALICE, STATEMENT),
    decision=sign(POLICY, DECISION),
)
GRANTED: journal.Granted = structs.replace(
    _sample(journal.Granted),
    operation_id=ID,
    claim=sign(AGENT, structs.replace(sample(Claim), operation_id=ID)),
    grant=sign(POLICY, structs.replace(sample(Grant), operation_id=ID)),
)
FINISHED: journal.Finished = structs.replace(
    _sample(journal.Finished),
    operation_id=ID,
    receipt=sign(AGENT, structs.replace(sample(Receipt), operation_id=ID)),
    probe=sign(AGENT, structs.replace(sample(ProbeFinding), operation_id=ID)),
)


def altered(signed: Signed) -> Signed:
    """Something else under the same signature."""
    return structs.replace(signed, payload=Raw(bytes(signed.payload).replace(b'"', b' "', 1)))


def details(event: journal.JournalEvent) -> dict[str, Any]:
    return {name: str(value) for name, value in _details(event)}


def test_value_that_is_recorded_for_reads_before_a_change_is_shown_and_not_called_absent() -> None:
    """At audit level minimal a request has no values as sent. An agent's reads need those of a change all the same."""
    sent = {"parameters": {}, "hidden": ["content", "file_path"], "effective": {"file_path": "/a", "timeout": 60}}
    lines = dict(_details(structs.replace(REQUESTED, **sent)))
    assert lines["parameters"] == '{"file_path":"/a"}'
    assert lines["not on record"] == "content"


def test_valid_signature_is_shown_with_its_signer() -> None:
    shown = {**details(REQUESTED), **details(GRANTED), **details(FINISHED)}
    assert shown["signed by"] == ALICE.public
    for name, key in (("decision", POLICY), ("claim", AGENT), ("grant", POLICY), ("receipt", AGENT), ("probe", AGENT)):
        assert f"signed by {key.public[:12]}" in shown[name]
    assert not any(INVALID_SIGNATURE in text for text in shown.values())


def test_unsigned_request_of_a_gateway_is_not_said_to_be_identified_by_nats() -> None:
    decided = sign(POLICY, structs.replace(DECISION, authenticated="gateway"))
    shown = details(structs.replace(REQUESTED, statement=None, decision=decided))
    assert shown["signed by"] == "nobody; the gateway identified the requester, by a token"


@each_case(
    ("event", "field", "changed"),
    [
        (REQUESTED, "signed by", {"statement": altered(sign(ALICE, STATEMENT))}),
        (REQUESTED, "signed by", {"statement": sign(THIEF, STATEMENT)}),
        (REQUESTED, "signed by", {"statement": sign(ALICE, structs.replace(STATEMENT, target="web-2"))}),
        (REQUESTED, "decision", {"decision": altered(sign(POLICY, DECISION))}),
        (REQUESTED, "decision", {"decision": sign(POLICY, structs.replace(DECISION, operation_id=OTHER))}),
        (GRANTED, "grant", {"grant": altered(GRANTED.grant)}),
        (GRANTED, "grant", {"grant": sign(POLICY, STATEMENT)}),
        (GRANTED, "claim", {"claim": altered(GRANTED.claim)}),
        (FINISHED, "receipt", {"receipt": sign(AGENT, sample(Receipt))}),
        (FINISHED, "receipt", {"receipt": sign(AGENT, STATEMENT)}),
        (FINISHED, "probe", {"probe": sign(AGENT, sample(ProbeFinding))}),
    ],
)
def test_invalid_signature_is_marked(event: journal.JournalEvent, field: str, changed: dict[str, Any]) -> None:
    assert details(structs.replace(event, **changed))[field].startswith(INVALID_SIGNATURE)


@pytest.mark.parametrize(("operation", "label"), [("file_write", "digest_after (keyed)"), ("other", "digest_after")])
def test_keyed_digest_is_labelled(capsys: pytest.CaptureFixture[str], operation: str, label: str) -> None:
    """`writ run` shows the plain SHA-256 under the name of the keyed one in the journal."""
    requested = structs.replace(REQUESTED, operation=operation)
    finished = structs.replace(FINISHED, output={"digest_after": "ab", "mode": "0644"})
    events = [
        TraceEvent(sequence=number, subject="s", kind=kind, at=1.0, body=json.decode(json.encode(event)))
        for number, (kind, event) in enumerate((("requested", requested), ("finished", finished)), 1)
    ]
    show(Screen("table"), TraceReply(events=events), {}, verified=True)
    shown = capsys.readouterr().out
    assert f" output {label}: ab\n" in shown
    assert " output mode: 0644\n" in shown


class RouterOutput(Output, frozen=True, kw_only=True):
    """Output of an operation of a plugin, with a keyed digest."""

    config_digest: Annotated[str, KEYED] = ""


def test_keyed_digest_of_a_plugins_operation_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    of_plugin = structs.replace(Catalogue(BUILT_IN)["file_write"], name="router_save", output=RouterOutput)
    monkeypatch.setattr(output_labels, "load_catalogue", lambda: Catalogue([*BUILT_IN, of_plugin]))
    output_labels.catalogue.cache_clear()
    try:
        assert output_labels.recorded_label("router_save", "config_digest") == "config_digest (keyed)"
        assert output_labels.recorded_label("router_save", "changed") == "changed"
    finally:
        output_labels.catalogue.cache_clear()


def test_labels_of_built_in_operations_stay_where_a_plugin_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Catalogue:
        raise ConfigError("two packages define router_save")

    monkeypatch.setattr(output_labels, "load_catalogue", broken)
    output_labels.catalogue.cache_clear()
    try:
        assert output_labels.recorded_label("file_write", "digest_after") == "digest_after (keyed)"
    finally:
        output_labels.catalogue.cache_clear()


@pytest.mark.parametrize(("width", "indent"), [(40, 4), (80, 28)])
def test_parts_of_an_event_begin_further_left_on_a_narrow_terminal(width: int, indent: int) -> None:
    event = TraceEvent(
        sequence=1, subject="writ.journal.op", at=1.0, kind="requested", body=json.decode(json.encode(REQUESTED))
    )
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=width, force_terminal=False)
    show(screen, TraceReply(events=[event]), {}, verified=True)
    assert f"\n{' ' * indent}rules: " in paper.getvalue()
