"""Every NATS subject of Writ, built and taken apart here and nowhere else.

A subject's tokens are identifiers of `ids` or words of ours, never free text: `_token` refuses what could add a token
or a wildcard.
"""

import re

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.ids import TOKEN_PATTERN

JOURNAL_STREAM = "WRIT_JOURNAL"
PARAMS_STREAM = "WRIT_PARAMS"
RESULTS_STREAM = "WRIT_RESULTS"

JOURNAL = "writ.journal.>"
REPUBLISHED = "writ.event.>"
PARAMS = "writ.params.>"
RESULTS = "writ.result.>"
CONTROL = "writ.journal.control.>"
SECURITY = "writ.journal.security.>"

POLICY_DECIDE = "writ.policy.decide"
POLICY_GRANT = "writ.policy.grant"

_TOKEN = re.compile(TOKEN_PATTERN)
_CLAIMED = re.compile(r"[^A-Za-z0-9_-]")


def _token(value: str, what: str) -> str:
    if not _TOKEN.search(value):
        raise Invalid(f"{what} {value[:80]!r} cannot be a subject token")
    return value


def request(principal: str, operation: str) -> str:
    """Where a principal sends a request."""
    return f"writ.request.{_token(principal, 'principal')}.{_token(operation, 'operation')}"


def query(principal: str, kind: str) -> str:
    """Where a principal asks: operation, operations, result, simulate, targets (executor); trace, search (audit)."""
    return f"writ.query.{_token(principal, 'principal')}.{_token(kind, 'query')}"


def operation_event(principal: str, operation_id: str, event: str, *, pool: str = "", target: str = "") -> str:
    """Where an event of an operation is stored; `dispatched` also names pool and target."""
    head = f"{_operation(principal, operation_id)}.{_token(event, 'event')}"
    return f"{head}.{_token(pool, 'pool')}.{_token(target, 'target')}" if pool else head


def operation_filter(principal: str, operation_id: str) -> str:
    """All events of one operation: the one spelling that every expected sequence uses."""
    return f"{_operation(principal, operation_id)}.>"


def _operation(principal: str, operation_id: str) -> str:
    return f"writ.journal.op.{_token(principal, 'principal')}.{_token(operation_id, 'operation id')}"


def any_operation_filter(operation_id: str) -> str:
    """All events of an operation whose principal is not known."""
    return f"writ.journal.op.*.{_token(operation_id, 'operation id')}.>"


def dispatched_filter(pool: str) -> str:
    """What the agents of a pool pull."""
    return f"writ.journal.op.*.*.dispatched.{_token(pool, 'pool')}.>"


def target_lock(target: str) -> str:
    """Who changes this target now."""
    return f"writ.journal.limit.target.{_token(target, 'target')}"


def security_event(kind: str) -> str:
    """Where a security event of this kind is stored."""
    return f"writ.journal.security.{_token(kind, 'kind')}"


def refused_summary(principal: str) -> str:
    """Where the count of a flood's unrecorded refusals is stored."""
    return f"writ.journal.refused.{_token(principal, 'principal')}"


def control_event(kind: str) -> str:
    """Where a control event of this kind is stored."""
    return f"writ.journal.control.{_token(kind, 'kind')}"


def consumer(pool: str) -> str:
    """The durable consumer of a pool."""
    return f"agent-{_token(pool, 'pool')}"


def events_of(principal: str, operation_id: str = "") -> str:
    """Where a requester listens: all of its operations, or one."""
    middle = f"{_token(operation_id, 'operation id')}." if operation_id else ""
    return f"writ.event.op.{_token(principal, 'principal')}.{middle}>"


def progress_event(principal: str, operation_id: str) -> str:
    """Where an executor relays an agent's progress to the requester."""
    return f"writ.event.op.{_token(principal, 'principal')}.{_token(operation_id, 'operation id')}.progress"


def params(operation_id: str) -> str:
    """Where the encrypted parameters of an operation are kept until its outcome."""
    return f"writ.params.{_token(operation_id, 'operation id')}"


def result(principal: str, operation_id: str) -> str:
    """Where the full output of an operation is kept for an hour."""
    return f"writ.result.{_token(principal, 'principal')}.{_token(operation_id, 'operation id')}"


def claim(pool: str) -> str:
    """Agents to executors: may I start this?"""
    return f"writ.claim.{_token(pool, 'pool')}"


def receipt(pool: str) -> str:
    """Agents to executors: this is what I did."""
    return f"writ.receipt.{_token(pool, 'pool')}"


def report(pool: str) -> str:
    """Agents to executors: this should not have happened."""
    return f"writ.report.{_token(pool, 'pool')}"


def heartbeat(pool: str) -> str:
    """Agents to every executor: I am here, running these."""
    return f"writ.heartbeat.{_token(pool, 'pool')}"


def progress(pool: str) -> str:
    """Agents to executors: how far it is."""
    return f"writ.progress.{_token(pool, 'pool')}"


def look(pool: str) -> str:
    """Executors to any agent of a pool: read this for me."""
    return f"writ.agent.{_token(pool, 'pool')}.look"


def cancel(pool: str, instance: str) -> str:
    """Executors to one agent instance: stop this."""
    return f"writ.agent.{_token(pool, 'pool')}.cancel.{_token(instance, 'instance')}"


class EventSubject(Struct, frozen=True, kw_only=True):
    """The parts of `writ.journal.op.…` or `writ.event.op.…`."""

    principal: str
    operation_id: str
    event: str


def parse_event(subject: str) -> EventSubject | None:
    """The parts of an operation event's subject; None for other subjects."""
    tokens = subject.split(".")
    if len(tokens) < 6 or tokens[0] != "writ" or tokens[1] not in ("journal", "event") or tokens[2] != "op":
        return None
    return EventSubject(principal=tokens[3], operation_id=tokens[4], event=tokens[5])


def parse_request(subject: str) -> tuple[str, str]:
    """(principal, operation) of a request's subject, as the server let it through; raises Invalid."""
    return _two(subject, "writ.request.")


def parse_query(subject: str) -> tuple[str, str]:
    """(principal, kind) of a query's subject; raises Invalid."""
    return _two(subject, "writ.query.")


def parse_pool(subject: str) -> str:
    """The pool of `writ.<claim|receipt|report|heartbeat|progress>.<pool>`; raises Invalid."""
    tokens = subject.split(".")
    if len(tokens) != 3 or tokens[0] != "writ":
        raise Invalid(f"subject {subject[:200]!r} names no pool")
    return _token(tokens[2], "pool")


def _two(subject: str, prefix: str) -> tuple[str, str]:
    tokens = subject.removeprefix(prefix).split(".") if subject.startswith(prefix) else []
    if len(tokens) != 2:
        raise Invalid(f"subject {subject[:200]!r} is not {prefix}<principal>.<name>")
    return _token(tokens[0], "principal"), tokens[1]


def printable(claimed: str) -> str:
    """What somebody called an operation or target, made safe to store and show: cut to 64, odd characters as `_`."""
    return _CLAIMED.sub("_", claimed[:64])
