"""A trace for people: each operation with its events, their times, their delay after the request, and their signers.

A signature is verified before it is shown: it is by the named key, over this operation. The verification of an archive
checks the owner of the key.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import json
from rich.text import Text

from writ_cli.operations.running.output_labels import recorded_label
from writ_cli.terminal import times
from writ_cli.terminal.output import Screen, outcome, shown
from writ_cli.terminal.quoted_text import QuotedText
from writ_cli.terminal.quoted_values import quoted
from writ_client.operations.operation_events import read_body
from writ_client.people.approval_card import identified
from writ_contracts import journal
from writ_contracts.agents import Claim, ProbeFinding, Receipt, SecurityReport
from writ_contracts.decisions import Decision, Grant
from writ_contracts.errors import Untrusted
from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import SignedApproval, demand_text, short_digest
from writ_contracts.people.previews import Preview
from writ_contracts.plural import plural
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_trust.approvals import read_approval, verify_own
from writ_trust.statements import digest, open_signed, read

Line = tuple[str, object]
INVALID_SIGNATURE = "INVALID SIGNATURE"
WIDE, NARROW_INDENT = 60, 4
"""Columns of a terminal from which on the parts of an event stand beneath its name, and their indent on others."""


def show(screen: Screen, answer: TraceReply, problems: Mapping[int, str], *, verified: bool) -> None:
    """Show the whole trace, one operation after the other; security events stand with their operation.

    `problems`: failed checks, by the sequence of the event; `verified`: policy's public key is known here.
    """
    if problems:
        number = plural(len(problems), "event")
        screen.line(Text(f"{INVALID_SIGNATURE} in {number}: do not rely on what is marked so", style="bold red"))
    if not verified:
        screen.line("policy's public key is not known here: signatures are shown, and their signers are UNVERIFIED")
    by_operation: dict[str, list[TraceEvent]] = {}
    for event in answer.events:
        by_operation.setdefault(str(event.body.get("operation_id") or ""), []).append(event)
    for operation_id, events in by_operation.items():
        _heading(screen, operation_id, events[0].body, events[0].at)
        operation = str(events[0].body.get("operation") or "")
        for event in events:
            _show_event(screen, event, events[0].at, problems.get(event.sequence, ""), operation)


def wrong_signatures(events: Iterable[TraceEvent], policy_keys: Collection[str]) -> dict[int, str]:
    """Return the failed checks by the sequence of the event: those of an archive, on the events of a trace."""
    if not policy_keys:
        return {}
    from writ_proof.archive.signatures import Signatures  # noqa: PLC0415 - of few commands

    signatures = Signatures(policy_keys, by_directory=False)
    for event in events:
        signatures.take(Record(event.sequence, event.subject, json.encode(event.body), {}, event.at))
    return {problem.sequence: problem.what for problem in signatures.problems}


def _heading(screen: Screen, operation_id: str, first: Mapping[str, Any], at: float) -> None:
    """Show what it is of, with date and zone: the lines below have the time of day alone."""
    words = [str(first.get("operation", "")), f"on {first['target']}" if first.get("target") else ""]
    words.append(f"by {first['principal']}" if first.get("principal") else "")
    words.append(f"for {first['acts_for']}" if first.get("acts_for") else "")
    title = " ".join(word for word in words if word)
    screen.line(Text(title or "security", style="bold"))
    screen.fields(
        [("operation", operation_id), ("correlation", first.get("correlation_id")), ("begins", times.date(at))]
    )
    screen.fields(
        [("reason given", QuotedText(first.get("reason") or "")), ("dry run", "yes" if first.get("dry_run") else "")]
    )


def _show_event(screen: Screen, event: TraceEvent, began: float, problem: str, operation: str) -> None:
    typed = read_body(event.kind, event.body)
    after = f"+{times.span(max(event.at - began, 0.0))}"
    head = f"  {times.clock(event.at)}  {after:>10}  "
    kind = Text(f"{event.kind:18}", style="bold")
    inner = len(head) if screen.out.width >= WIDE else NARROW_INDENT
    screen.line(head, kind, _headline(typed), f"   #{event.sequence}", hang=inner)
    if problem:
        screen.line(" " * inner, Text(f"{INVALID_SIGNATURE}: {problem}", style="bold red"))
    screen.fields(_details(typed, operation) if typed else [("body", quoted(event.body))], indent=inner)


def _headline(event: journal.JournalEvent | None) -> str | Text:  # noqa: C901 - a table by type
    match event:
        case journal.Requested():
            return event.verdict.decision + (f"; dispatched to {event.pool}, attempt 1" if event.dispatched else "")
        case journal.Refused() | journal.Finished() | journal.Resolved():
            return outcome(event.outcome)
        case journal.Unknown():
            return outcome("unknown")
        case journal.Rejected():
            return outcome("rejected")
        case journal.Archived():
            return f"{event.outcome}; its events are in archive {event.generation}: writ trace --archive FILE"
        case journal.Dispatched():
            return f"to {event.pool}, attempt {event.attempt}"
        case journal.Granted() | journal.Started():
            return f"by {event.instance}"
        case journal.CancelRequested():
            return f"by {event.by}"
        case journal.SecurityEvent():
            return Text(event.kind, style="bold red")
        case journal.AwaitingApproval():
            return f"{'; '.join(map(demand_text, event.demands))}; could approve: {', '.join(event.approvers)}"
        case journal.PreviewTaken():
            return ""
        case journal.ApprovalGiven():
            return f"by {event.approver}; {event.remaining} more needed"
        case journal.Approved():
            return f"by {event.approver}"
        case journal.ControlEvent():
            return event.kind
        case journal.LimitTaken():
            return f"one of {event.most} under the limit of rule {event.rule}"
        case journal.WindowUsed():
            return f"use {event.use} of {event.most} of approval window {event.window}"
        case journal.LockTaken():
            return f"of {event.target}"
        case _:
            return ""


def _details(event: journal.JournalEvent, operation: str = "") -> Iterator[Line]:  # noqa: C901 - a table by type
    match event:
        case journal.Requested():
            # At audit level minimal a value may be absent as sent, and on record for the reads before a change.
            recorded = {name: event.effective[name] for name in event.hidden if name in event.effective}
            hidden = [name for name in event.hidden if name not in recorded]
            yield from _parameters({**event.parameters, **recorded}, hidden)
            yield from _decided(
                event.operation_id, event.verdict.rules, event.verdict.reason, event.decision, event.verdict.policy
            )
            yield "signed by", _signer(event)
        case journal.Refused():
            yield from _parameters(event.parameters, event.hidden)
            yield event.code, QuotedText(event.message)
            if event.verdict:
                yield from _decided(event.operation_id, event.verdict.rules, "", event.decision, event.verdict.policy)
        case journal.Granted():
            yield from _granted(event)
        case journal.Started():
            yield "until", times.clock(event.deadline)
        case journal.Finished() | journal.Resolved():
            yield from _ended(event, operation)
        case journal.Unknown():
            yield from [(event.code, QuotedText(event.message)), *_output(event.output, operation)]
        case journal.AwaitingApproval():
            yield "until", times.clock(event.until)
        case journal.PreviewTaken():
            yield "preview by", _signature(event.preview, Preview)
        case journal.ApprovalGiven() | journal.Rejected():
            yield from _approval(event.approval, event.operation_id)
        case journal.Approved():
            for signed in event.approvals:
                yield from _approval(signed, event.operation_id)
        case journal.SecurityEvent():
            yield "detail", QuotedText(event.detail)
            yield "reported by", _signature(event.report, SecurityReport)
        case journal.ControlEvent():
            yield "body", QuotedText(shown(event.body) if event.body else "")
        case _:
            return


def _parameters(parameters: Mapping[str, Any], hidden: list[str]) -> Iterator[Line]:
    yield "parameters", QuotedText(shown(parameters) if parameters else "")
    yield "not on record", ", ".join(hidden)


def _decided(of: str, rules: list[str], reason: str, signed: Signed | None, policy: str) -> Iterator[Line]:
    yield "rules", ", ".join(rules)
    yield "why", QuotedText(reason)
    decision = _read(signed, Decision)
    authenticated = f", requester identified by {decision.authenticated}" if decision else ""
    yield "policy", f"{policy}{authenticated}"
    yield "decision", _signature(signed, Decision, of)


def _granted(event: journal.Granted) -> Iterator[Line]:
    claim, grant = _read(event.claim, Claim), _read(event.grant, Grant)
    yield "before", quoted(claim.baseline) if claim else ""
    yield "claim", _signature(event.claim, Claim, event.operation_id)
    yield "grant", _signature(event.grant, Grant, event.operation_id)
    if grant:
        yield "valid for", f"{grant.lifetime:g} s, by {grant.policy.name}"
    yield "until", times.clock(event.deadline)


def _ended(event: journal.Finished | journal.Resolved, operation: str) -> Iterator[Line]:
    yield event.code or "message", QuotedText(event.message)
    yield "how", event.how if isinstance(event, journal.Resolved) else ""
    yield from _output(event.output, operation)
    yield "after", quoted(event.state)
    yield "probe", _signature(event.probe, ProbeFinding, event.operation_id)
    yield "receipt", _signature(event.receipt, Receipt, event.operation_id)
    if receipt := _read(event.receipt, Receipt):
        yield "effect", f"{receipt.effect}, {times.span(receipt.duration_ms / 1000)}"


def _output(output: dict[str, Any], operation: str) -> Iterator[Line]:
    return ((f"output {recorded_label(operation, name)}", quoted(value)) for name, value in output.items())


def _approval(signed: SignedApproval, of: str) -> Iterator[Line]:
    try:
        by_key = signed.evidence.__struct_config__.tag == "key"
        approval = verify_own(signed, None) if by_key else read_approval(signed)
    except Untrusted as error:
        yield "approval", f"{INVALID_SIGNATURE}: {error}"
        return
    wrong = f"; {INVALID_SIGNATURE}: it is on operation {approval.operation_id}" if approval.operation_id != of else ""
    checked = "" if by_key else ", which only the directory of credentials verifies (`writ journal verify`)"
    shown = f"of request {short_digest(approval.requested)} signed by {signed.credential[:12]}…{checked}{wrong}"
    yield approval.verdict, f"{approval.approver} ({approval.proof}), {shown}"
    yield "reason", QuotedText(approval.reason)


def _read(signed: Signed | None, kind: type[Any]) -> Any:
    try:
        return None if signed is None else read(signed, kind)
    except Untrusted:
        return None


def _signer(event: journal.Requested) -> str:
    """Return the signer of the request, if it was sent with the same key."""
    statement = event.statement
    if statement is None:
        decision = _read(event.decision, Decision)
        return f"nobody; {identified(decision)}" if decision else "nobody"
    try:
        stated = open_signed(statement, RequestStatement, [event.key], None)
    except Untrusted as error:
        return f"{INVALID_SIGNATURE}: {error}"
    pairs = ((stated.principal, event.principal), (stated.operation, event.operation), (stated.target, event.target))
    return (
        statement.key if all(one == other for one, other in pairs) else f"{INVALID_SIGNATURE}: it is on something else"
    )


def _signature(signed: Signed | None, kind: type[Any], of: str = "") -> str:
    """Return digest and signer; `of`: the operation it must name."""
    if signed is None:
        return ""
    try:
        stated = open_signed(signed, kind, [signed.key], None)
    except Untrusted as error:
        return f"{INVALID_SIGNATURE}: {error}"
    if of and stated.operation_id != of:
        return f"{INVALID_SIGNATURE}: it is on operation {stated.operation_id}"
    return f"{digest(signed)[:16]} signed by {signed.key[:12]}…"
