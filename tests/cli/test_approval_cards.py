"""The card of a pending request on a terminal."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from click.testing import CliRunner
from msgspec import Struct, structs
from rich.console import Console
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi
from tests.client.test_approval_card import POLICY, card
from tests.contracts.messages import sample

from writ_bus.port import Endpoint, Message, Service
from writ_cli.approvals import group
from writ_cli.approvals.card_text import as_data, show_card
from writ_cli.approvals.group import _show_event, hidden_parameters, show_pending
from writ_cli.main import cli
from writ_cli.operations.controls import emergencies, windows
from writ_cli.operations.records import timeline
from writ_cli.policy.versions import _show_status
from writ_cli.terminal import times
from writ_cli.terminal.diff_text import show_diff
from writ_cli.terminal.output import Screen, harmless
from writ_client.people.approval_card import Card, CardPreview, open_card
from writ_contracts import journal
from writ_contracts.errors import Invalid
from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.ids import operation_id
from writ_contracts.people.approvals import Approval, ApprovalEvent, ApprovalsReply, PendingApproval
from writ_contracts.people.previews import Preview
from writ_contracts.policy.versions import (
    EmergencyView,
    PolicyStatusReply,
    PolicyVersionView,
    StopView,
    WindowView,
)
from writ_contracts.wire import encode
from writ_testing.installations.commands import run_command
from writ_testing.peers.nats_server import WritServer
from writ_trust.approvals import sign_approval
from writ_trust.keys import Key, generate_seed


@pytest.mark.parametrize("warning", ["", "by now it is denied: rule 'frozen' denies it"])
def test_card_shows_the_warning_of_policy(warning: str) -> None:
    opened = open_card(structs.replace(card(), warning=warning), {POLICY.public})
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=200)
    show_card(screen, opened, 0.0)
    assert (f"warning: {warning}" in terminal.getvalue()) == bool(warning)
    assert ("warning:" in terminal.getvalue()) == bool(warning)
    assert as_data(opened)["warning"] == warning


def test_question_after_a_long_diff_names_requester_operation_and_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's first line has left the screen by then."""
    asked = list[str]()
    monkeypatch.setattr(group, "confirmed", lambda question, **_: asked.append(question))
    opened = open_card(card(), {POLICY.public})
    group._confirmed(opened)
    assert asked == [f"Approve: {opened.sentence} ({opened.short})?"]
    assert " requests service_restart on " in asked[0]


@pytest.mark.parametrize("width", [80, 200])
def test_list_of_pending_requests_has_the_reason_of_each(width: int) -> None:
    """Of a dozen requests for one operation, the reasons tell which is which."""
    pending = [
        PendingApproval(
            operation_id=operation_id("alice", name),
            principal="alice",
            operation="file_write",
            target=f"web-{name}",
            sequence=1,
            requested_at=0.0,
            until=1.0,
            digest="0" * 64,
            yours=True,
            reason=f"ticket {name}\nand  more" if name != "3" else "",
        )
        for name in "123"
    ]
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=width)
    show_pending(screen, pending)
    shown = terminal.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    for one in pending[:2]:
        number = one.target.removeprefix("web-")
        line = f"{one.operation_id}: reason: ticket {number} and more" if width == 80 else f"ticket {number} and more"
        assert line in shown
    assert shown.count("reason") == (2 if width == 80 else 1)


@pytest.mark.parametrize(
    "char", ["\r", "\x0c", "\x85", "\u2028", "\u202e", "\u200b", "\u3164", "\u115f", "\u2800", "\ufe01"]
)
def test_diff_has_a_visible_sign_for_what_a_terminal_does_not_draw_and_ends_no_line_at_it(char: str) -> None:
    """Else a part of a comment is a line of its own for its approver, and a name in a program is not seen."""
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=80)
    show_diff(screen, f"+# {char}deny all\n+if (x {char}) run();\n\n")
    assert terminal.getvalue() == "    +# �deny all\n    +if (x �) run();\n    \n"


def test_file_with_hidden_content_is_given_in_the_encoding_of_the_request(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\0")
    shown = open_card(card(hidden={"content": "/wA="}), {POLICY.public})
    opened = structs.replace(
        shown,
        requested=structs.replace(shown.requested, effective={"file_path": "/srv/a", "encoding": "base64"}),
        decision=structs.replace(shown.decision, operation="file_write"),
    )
    assert hidden_parameters(opened, (f"content=@{tmp_path}/a",)) == {"content": "/wA="}
    with pytest.raises(Invalid, match="encoding: is given twice"):
        hidden_parameters(opened, (f"content=@{tmp_path}/a", "encoding=utf-8"))


def test_letters_that_look_like_others_are_named_by_their_code_points() -> None:
    opened = open_card(card(), {POLICY.public})
    looks_alike = {"file_path": "/srv/\u0430pp", "ports": ["80"], "names": ["\u0435", "\u202e", "\u0435"]}
    opened = structs.replace(opened, requested=structs.replace(opened.requested, effective=looks_alike))
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=200)
    show_card(screen, opened, 0.0)
    lines = [line.strip() for line in terminal.getvalue().split("\n")]
    assert "letters beyond ASCII in file_path: \u0430 U+0430" in lines
    assert "letters beyond ASCII in names: \u0435 U+0435, � U+202E" in lines
    assert not any("in ports" in line for line in lines)


FORGED = "risk: read"
MISLEADING = {
    "tabs": f"tidy up{chr(9) * 8}  {FORGED}",
    "tab at the end of a line": f"{'x' * 52} {chr(9)}  {FORGED}",
    "spaces": f"tidy up{' ' * 54}  {FORGED}",
    "new line": f"tidy up\n  {FORGED}\n{FORGED}",
    "long word": f"{'x' * 60}{FORGED}",
    "long words": f"{'x' * 62}  {FORGED}",
    "word as long as a line": f"{'a' * 76} {FORGED}",
}


def rows_of(show: Callable[[Screen], None], width: int) -> list[str]:
    """Return the rows of a terminal of this width; it breaks lines that are longer."""
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=width)
    show(screen)
    lines = terminal.getvalue().split("\n")
    return rows(lines, width)


def rows(lines: list[str], width: int) -> list[str]:
    """Return the rows in which a terminal shows these lines."""
    drawn = [line.expandtabs(8) for line in lines]
    return [line[at : at + width] for line in drawn for at in range(0, max(len(line), 1), width)]


def previewed(shown: dict[str, Any]) -> Card:
    opened = open_card(card(), {POLICY.public})
    body = structs.replace(sample(Preview), shown=shown)
    assert isinstance(body, Preview)
    return structs.replace(opened, preview=CardPreview(body=body, digest="0" * 64, details=None))


def card_rows(card: Card, width: int) -> list[str]:
    return rows_of(lambda screen: show_card(screen, card, 0.0), width)


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("place", ["reason", "parameter", "items", "preview", "items of a preview", "approval"])
def test_no_text_of_a_requester_or_approver_looks_like_another_line_of_the_card(
    place: str, text: str, width: int
) -> None:
    opened = open_card(card(), {POLICY.public})
    match place:
        case "reason":
            changed = structs.replace(opened, requested=structs.replace(opened.requested, reason=text))
        case "preview":
            changed = previewed({"would": text})
        case "items of a preview":
            changed = previewed({"ports": [{"image": text}, {"image": "b", "host": text}]})
        case "parameter" | "items":
            effective = {"service_name": text if place == "parameter" else [{"image": text}]}
            changed = structs.replace(opened, requested=structs.replace(opened.requested, effective=effective))
        case _:
            changed = structs.replace(opened, approvals=[structs.replace(sample(Approval), reason=text)])
    assert not any(row.strip().startswith(FORGED) for row in card_rows(changed, width))


T = TypeVar("T", bound=Struct)


def sample_of(kind: type[T]) -> T:
    made = sample(kind)
    assert isinstance(made, kind)
    return made


def show_emergency(screen: Screen, reason: str) -> None:
    emergencies._show(screen, structs.replace(sample_of(EmergencyView), reason=reason))


def show_window(screen: Screen, reason: str) -> None:
    windows._show(screen, structs.replace(sample_of(WindowView), reason=reason))


def show_trace(screen: Screen, reason: str) -> None:
    timeline._heading(screen, "a" * 26, {"operation": "service_restart", "reason": reason}, 1.0)


@pytest.mark.parametrize("width", range(60, 101, 5))
def test_tab_of_a_text_counts_from_the_beginning_of_its_line(width: int) -> None:
    """Else the end of the line is on a row of its own."""
    opened = open_card(card(), {POLICY.public})
    for before in range(9):
        for after in range(width - 48, width - 25):
            effective = {"service_name": f"{'a' * before}\t{'y' * after}"}
            changed = structs.replace(opened, requested=structs.replace(opened.requested, effective=effective))
            assert not any(row.startswith("y") for row in card_rows(changed, width)), (before, after)


def test_times_among_the_parameters_are_shown_as_dates() -> None:
    opened = open_card(card(), {POLICY.public})
    effective = {"expires_at": 1790000000, "count": 3, "start": False}
    changed = structs.replace(opened, requested=structs.replace(opened.requested, effective=effective))
    shown = [row.strip() for row in card_rows(changed, 80)]
    assert f"parameter expires_at: {times.date(1790000000)}" in shown
    assert "parameter count: 3" in shown
    assert "parameter start: false" in shown


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_reason_in_the_list_of_pending_requests_looks_like_that_of_another(width: int) -> None:
    other, own = operation_id("alice", "1"), operation_id("mallory", "2")
    pending = structs.replace(
        sample(PendingApproval), operation_id=own, reason=f"{'x' * 80}{other}: reason: checked, approve {other}: " * 2
    )
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=width)
    assert isinstance(pending, PendingApproval)
    for moved in range(width):
        show_pending(screen, [structs.replace(pending, reason="x" * moved + pending.reason)])
    shown = rows(terminal.getvalue().split("\n"), width)
    assert not any(row.strip().startswith(other) for row in shown)
    assert sum(row.startswith(f"{own}: reason: x") and row.endswith("…") for row in shown) == width


APPROVES = "approve: carol (key), of request 45cd"


@pytest.mark.parametrize(
    "reason", [f"well{' ' * 75}{APPROVES}", f"well\n{APPROVES}", f"{'x' * 60} {APPROVES}", f"{'x' * 76} {APPROVES}"]
)
def test_no_text_in_a_trace_looks_like_the_approval_of_another(reason: str) -> None:
    given = structs.replace(sample(Approval), approver="bob", reason=reason)
    assert isinstance(given, Approval)
    approval = sign_approval(Key(generate_seed()), given)
    event = structs.replace(sample(journal.Rejected), operation_id=given.operation_id, approval=approval)
    requested = structs.replace(sample(journal.Requested), parameters={"name": reason})
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=80)
    events = [
        TraceEvent(sequence=1, subject="s", kind=kind, at=0.0, body=msgspec.json.decode(encode(one)))
        for kind, one in (("requested", requested), ("rejected", event))
    ]
    timeline.show(screen, TraceReply(events=events), {}, verified=True)
    shown = rows(terminal.getvalue().split("\n"), 80)
    assert sum("approve: bob" in row or "reject: bob" in row for row in shown) == 1
    assert not any(row.strip().startswith(APPROVES) for row in shown)


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
def test_no_reason_in_the_state_of_the_policy_or_in_a_change_of_a_request_looks_like_another_line(text: str) -> None:
    screen, terminal = Screen("table"), io.StringIO()
    screen.out = Console(file=terminal, width=80)
    version = PolicyVersionView(number=2, digest="b" * 64, author="a", origin="published", at=2.0, reason=text)
    stop = StopView(id="s", by="alice", reason=text, since=0.0)
    emergency = structs.replace(sample(EmergencyView), reason=text)
    assert isinstance(emergency, EmergencyView)
    _show_status(screen, PolicyStatusReply(version=version, stops=[stop], emergencies=[emergency]))
    _show_event(screen, structs.replace(sample(ApprovalEvent), reason=text))  # type: ignore[arg-type]
    shown = rows(terminal.getvalue().split("\n"), 80)
    assert not any(row.strip().startswith(FORGED) for row in shown)


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("show", [show_emergency, show_window, show_trace])
def test_no_reason_looks_like_another_line_of_an_emergency_a_window_or_a_trace(
    show: Callable[[Screen, str], None], width: int, text: str
) -> None:
    shown = rows_of(lambda screen: show(screen, text), width)
    assert any("reason" in row for row in shown)
    assert not any(row.strip().startswith(FORGED) for row in shown)


def test_each_approval_of_a_card_has_a_line_of_its_own() -> None:
    """Else the reason of one approver reads like the approval of another."""
    opened = open_card(card(), {POLICY.public})
    first = structs.replace(sample(Approval), approver="bob", reason="well, carol: well")
    both = [first, structs.replace(first, approver="dave", reason="")]
    shown = card_rows(structs.replace(opened, approvals=both), 80)
    assert "  approved by bob: well, carol: well" in shown
    assert "  approved by dave: without a reason" in shown


def test_json_has_no_invisible_character_as_it_is() -> None:
    assert harmless('{"a": "\u3164\u2800\u202e🔥"}') == '{"a": "\\u3164\\u2800\\u202e🔥"}'


@pytest.mark.parametrize("option", ["--yes", "--digest"])
def test_both_verdicts_take_the_same_guards(option: str) -> None:
    for verdict in ("approve", "reject"):
        assert option in CliRunner().invoke(cli, ["approvals", verdict, "--help"]).output


async def test_completion_of_a_decision_offers_the_requests_that_one_may_decide_on(
    command: Command, served: ScriptedApi, server: WritServer, environ: dict[str, str]
) -> None:
    """Own open operations are none of them: nobody approves their own."""
    served.outcome = None
    own, theirs = operation_id("alice", "k"), operation_id("bob", "k")
    await command("run", "service_restart", "-t", "a", "service_name=nginx", "--no-wait", "--idempotency-key", "k")
    pending = structs.replace(sample_of(PendingApproval), operation_id=theirs, principal="bob", operation="file_write")

    async def reply(_: Message) -> bytes:
        return encode(ApprovalsReply(pending=[pending]))

    async def offered(*words: str) -> list[str]:
        line = " ".join(["writ", "approvals", *words, ""])
        done = await run_command([], {**os.environ, **environ, "_WRIT_COMPLETE": "bash_complete", "COMP_LINE": line})
        return [row.partition(",")[2] for row in done.out.splitlines() if row]

    endpoint = Endpoint(name="approvals", subject="writ.query.*.approvals", handler=reply)
    async with server.connected("policy") as policy:
        await policy.serve(Service(name="policy", version="0.0.0", description="scripted", endpoints=[endpoint]))
        assert await offered("approve") == await offered("reject") == await offered("challenge") == [theirs]
        assert await offered("approve", theirs) == []
        assert await offered("approve", theirs, "--parameter") == ["content=", "if_digest="]
        assert await offered("show") == [theirs, own]
