"""The card of a pending operation: signed facts, and anything else marked as unverified."""

from collections.abc import Iterator
from typing import Any

import msgspec
from rich.text import Text

from writ_cli.operations.running.output_labels import recorded_label
from writ_cli.terminal import times
from writ_cli.terminal.diff_text import show_diff
from writ_cli.terminal.output import Screen, outcome, shown
from writ_cli.terminal.quoted_values import quoted
from writ_client.people.approval_card import Card
from writ_contracts.people.approvals import demand_text
from writ_contracts.plural import plural

Line = tuple[str, object]
MOST_LETTERS = 10
"""Letters beyond ASCII that are named by their code points."""


def show_card(screen: Screen, card: Card, now: float) -> None:
    if screen.json:
        screen.data(as_data(card))
        return
    screen.line(Text(card.sentence, style="bold"))
    screen.line("  ", outcome(card.state), f"   digest {card.short}   operation {card.requested.operation_id}")
    screen.fields(_lines(card, now))
    if card.preview is not None and card.preview.diff:
        show_diff(screen, card.preview.diff)
    for what in card.unverified:
        screen.line(Text(f"  UNVERIFIED: {shown(what)}", style="bold red"))
    if card.warning:
        screen.line(Text(f"  warning: {shown(card.warning)}", style="yellow"))
    for why in refusals(card) if card.state == "awaiting_approval" else ():
        screen.line(Text(f"  not to approve: {shown(why)}", style="yellow"))


def refusals(card: Card) -> list[str]:
    """Return the reasons not to approve, with the option that gives a hidden parameter."""
    return [f"{why} (--parameter NAME=VALUE)" if "values" in why else why for why in card.refusals]


def _lines(card: Card, now: float) -> Iterator[Line]:
    decision, requested = card.decision, card.requested
    for name, value in requested.effective.items():
        yield "parameter " + name, quoted(value)
        yield f"letters beyond ASCII in {name}", _beyond_ascii(value)
    yield "not shown", ", ".join(card.unseen)
    yield "reason given" if card.reason_is_signed else "reason given (not signed)", quoted(requested.reason)
    yield "risk", requested.risk
    yield from _preview(card, now)
    yield from _reach(card)
    yield "rules", ", ".join(decision.rules)
    yield "demands", "; ".join(map(demand_text, card.demands))
    yield "your proof", card.proof if card.step and card.proof != "key" else ""
    for one in card.approvals:
        yield f"approved by {one.approver}", quoted(one.reason or "without a reason")
    if card.state == "awaiting_approval":
        more = f"; {card.remaining} more needed" if card.approvals and card.remaining else ""
        yield "waits for", f"{card.waits_for}{more}"
        yield "could decide", ", ".join(card.able)
        left = max(card.until - now, 0.0)
        yield "until", f"{times.date(card.until)} ({times.span(left)} left)"
        yield "your step", card.step or "none now"


def _beyond_ascii(value: object) -> str:
    """Return the letters of a value that may look like others, such as a Cyrillic one in the path of a file."""
    found = dict.fromkeys(char for char in msgspec.json.encode(value).decode() if not char.isascii())
    named = [f"{char} U+{ord(char):04X}" for char in found][:MOST_LETTERS]
    return ", ".join(named + ["and others"] * (len(found) > MOST_LETTERS))


def _preview(card: Card, now: float) -> Iterator[Line]:
    preview = card.preview
    if preview is None:
        return
    yield "preview", f"by {preview.body.instance} of pool {preview.body.pool}, {times.span(_age(card, now))} ago"
    plain = preview.details or {}
    for name, value in preview.body.shown.items():
        label = name if name in plain else recorded_label(card.decision.operation, name)
        yield ("would " + label if name != "would" else name), quoted(plain.get(name, value))
    yield "preview says", quoted(preview.body.note)


def _age(card: Card, now: float) -> float:
    return max(now - card.preview.body.taken_at, 0.0) if card.preview else 0.0


def _reach(card: Card) -> Iterator[Line]:
    """Return the target's place among others, and its last change."""
    facts = card.facts
    if facts is None:
        return
    yield "target", ", ".join([f"role {facts.role}", *(f"tag {tag}" for tag in facts.tags)]) if facts.role else ""
    more = facts.behind_count - len(facts.behind)
    behind = ", ".join(facts.behind) + (f" and {more} more" if more else "")
    reached = f"{plural(facts.behind_count, 'target')} behind it: {behind}"
    yield "reaches", reached if facts.behind else "this target alone"
    last = facts.last_change
    if last is None:
        yield "last change", "none on record"
        return
    own = "; this operation itself" if last.operation_id == card.requested.operation_id else ""
    since = f"; AFTER the {'preview' if card.preview else 'request'}" if _changed_since(card) else own
    yield "last change", f"{last.operation} by {last.principal}, {times.date(last.at)}{since}"


def _changed_since(card: Card) -> bool:
    """Return whether another operation changed the target after the preview was taken, or after the request where there
    is none.
    """
    last = card.facts.last_change if card.facts else None
    taken = card.preview.body.taken_at if card.preview else card.decision.at
    return last is not None and last.at > taken and last.operation_id != card.requested.operation_id


def as_data(card: Card) -> dict[str, Any]:
    """Return the card for programs."""
    decision, requested = card.decision, card.requested
    return {
        "operation_id": requested.operation_id,
        "digest": card.digest,
        "short_digest": card.short,
        "sentence": card.sentence,
        "state": card.state,
        "until": card.until,
        "principal": decision.principal,
        "acts_for": decision.acts_for,
        "operation": decision.operation,
        "target": decision.target,
        "parameters": requested.effective,
        "hidden": requested.hidden,
        "reason": requested.reason,
        "risk": requested.risk,
        "rules": decision.rules,
        "demands": card.demands,
        "approvals": card.approvals,
        "step": card.step,
        "waits_for": card.waits_for,
        "remaining": card.remaining,
        "able": card.able,
        "preview": _preview_data(card),
        "facts": card.facts,
        "changed_since": _changed_since(card),
        "warning": card.warning,
        "unverified": card.unverified,
        "refusals": card.refusals,
    }


def _preview_data(card: Card) -> dict[str, Any] | None:
    preview = card.preview
    if preview is None:
        return None
    return {
        "digest": preview.digest,
        "taken_at": preview.body.taken_at,
        "complete": preview.whole,
        "note": preview.body.note,
        "shown": preview.body.shown,
        "details": preview.details,
    }
