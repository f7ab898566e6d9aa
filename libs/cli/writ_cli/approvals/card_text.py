"""The card of a pending operation for people: only what signatures hold for, and marked what they do not."""

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from writ_cli import times
from writ_cli.output import Screen, outcome, shown
from writ_client.approval_card import Card
from writ_contracts.approvals import demand_text

Line = tuple[str, object]


def show_card(screen: Screen, card: Card, now: float) -> None:
    """The whole card."""
    if screen.json:
        screen.data(as_data(card))
        return
    screen.line(Text(card.sentence, style="bold"))
    screen.line("  ", outcome(card.state), f"   digest {card.short}   operation {card.requested.operation_id}")
    screen.fields(_lines(card, now))
    for what in card.unverified:
        screen.line(Text(f"  UNVERIFIED: {shown(what)}", style="bold red"))
    for why in refusals(card):
        screen.line(Text(f"  not to approve: {shown(why)}", style="yellow"))


def refusals(card: Card) -> list[str]:
    """The reasons not to approve, with the option that gives a hidden parameter."""
    return [f"{why} (--parameter NAME=VALUE)" for why in card.refusals]


def _lines(card: Card, now: float) -> Iterator[Line]:
    decision, requested = card.decision, card.requested
    yield from (("parameter " + name, value) for name, value in requested.effective.items())
    yield "not shown", ", ".join(requested.hidden)
    yield "reason given", f"{requested.reason} (not signed)" if requested.reason else ""
    yield "risk", requested.risk
    yield "rules", ", ".join(decision.rules)
    yield "demands", "; ".join(map(demand_text, card.demands))
    yield "your proof", card.proof if card.step and card.proof != "key" else ""
    yield "approved by", ", ".join(f"{one.approver}{f': {one.reason}' if one.reason else ''}" for one in card.approvals)
    if card.state == "awaiting_approval":
        yield "waits for", card.waits_for
        yield "could decide", ", ".join(card.able)
        left = max(card.until - now, 0.0)
        yield "until", f"{times.date(card.until)} ({times.span(left)} left)"
        yield "your step", card.step or "none now"


def as_data(card: Card) -> dict[str, Any]:
    """The card for programs."""
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
        "unverified": card.unverified,
        "refusals": card.refusals,
    }
