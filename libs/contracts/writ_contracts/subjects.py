"""Every NATS subject of Writ, built and taken apart here and nowhere else.

A subject's tokens are identifiers of `ids` or words of ours, never free text: `_token` refuses what could add a token
or a wildcard.
"""

import re
from functools import lru_cache
from hashlib import sha256

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.ids import TOKEN_PATTERN, encode_id

JOURNAL_STREAM = "WRIT_JOURNAL"
PARAMS_STREAM = "WRIT_PARAMS"
RESULTS_STREAM = "WRIT_RESULTS"
POLICIES_STREAM = "WRIT_POLICIES"

JOURNAL = "writ.journal.>"
JOURNAL_CLOSED = "writ.closed.journal"
"""All that the journal takes while its beginning is taken out. The bootstrap user asks there where it ends."""
REPUBLISHED = "writ.event.>"
PARAMS = "writ.params.>"
RESULTS = "writ.result.>"
POLICIES = "writ.policies.>"
POLICY_FILE = "writ.policies.file"
SCANS_STREAM = "WRIT_SCANS"
STREAMS = (JOURNAL_STREAM, POLICIES_STREAM, SCANS_STREAM, PARAMS_STREAM, RESULTS_STREAM)
"""All that there are."""
SCANS = "writ.scanned.>"
CONTROL = "writ.journal.control.>"
LIMITS = "writ.journal.limit."
SECURITY = "writ.journal.security.>"

POLICY_DECIDE = "writ.policy.decide"
POLICY_GRANT = "writ.policy.grant"
NOTICE_POLICY = "writ.notice.policy"
NOTICE_AUDIT = "writ.notice.audit"
NOTICE_PROVISIONER = "writ.notice.keeper"
AUDIT_STANDING = "writ.audit.standing"

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
    """Where a principal asks: operation, operations, result, simulate, targets, backend_test, journal (executor);
    trace, search (audit); policy_history, policy_show, policy_status (policy).
    """
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


def every_operation_filter(event: str) -> str:
    """The events of this kind of all operations; those that no more tokens follow."""
    return f"writ.journal.op.*.*.{_token(event, 'event')}"


def any_operation_filter(operation_id: str) -> str:
    """All events of an operation whose principal is not known."""
    return f"writ.journal.op.*.{_token(operation_id, 'operation id')}.>"


def dispatched_filter(pool: str) -> str:
    """What the agents of a pool pull."""
    return f"writ.journal.op.*.*.dispatched.{_token(pool, 'pool')}.>"


def target_lock(target: str) -> str:
    """Who changes this target now."""
    return f"writ.journal.limit.target.{_token(target, 'target')}"


@lru_cache(maxsize=1024)
def limit_line(rule: str, kind: str) -> str:
    """Who was let in last under this limit; the rule's name may be any text."""
    return f"writ.journal.limit.rule.{encode_id(sha256(f'{kind} {rule}'.encode()).digest()[:16])}"


def scan(scanner: str) -> str:
    """Where a scanner reports."""
    return f"writ.scan.{_token(scanner, 'scanner')}"


def can_scan(name: str) -> bool:
    """Whether a scanner can have this name, which a rule may spell in any way."""
    return _TOKEN.search(name) is not None


def parse_scan(subject: str) -> str:
    """The scanner of a report's subject, as the server let it through; raises Invalid."""
    return _token(subject.removeprefix("writ.scan."), "scanner")


def scanned(scanner: str, target: str) -> str:
    """Where the last report of a scanner on a target is kept."""
    return f"writ.scanned.{_token(scanner, 'scanner')}.{_token(target, 'target')}"


def security_event(kind: str) -> str:
    """Where a security event of this kind is stored."""
    return f"writ.journal.security.{_token(kind, 'kind')}"


def refused_summary(principal: str) -> str:
    """Where the count of a flood's unrecorded refusals is stored."""
    return f"writ.journal.refused.{_token(principal, 'principal')}"


def control_event(kind: str) -> str:
    """Where a control event of this kind is stored."""
    return f"writ.journal.control.{_token(kind, 'kind')}"


def published_policy(operation_id: str) -> str:
    """Where the version that an operation publishes is stored, once."""
    return f"writ.policies.published.{_token(operation_id, 'operation id')}"


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


def approval(principal: str) -> str:
    """Where a person sends a signed approval or rejection."""
    return f"writ.approval.{_token(principal, 'principal')}"


def parse_approval(subject: str) -> str:
    """The principal of an approval's subject, as the server let it through; raises Invalid."""
    return _token(subject.removeprefix("writ.approval."), "principal")


def approval_event(principal: str) -> str:
    """Where an approver hears of operations that wait for approval, and of their ends."""
    return f"writ.event.approval.{_token(principal, 'principal')}"


def enrol(token: str) -> str:
    """Where a host with this token asks to be let in."""
    return f"writ.enrol.{_token(token, 'token')}"


def parse_enrol(subject: str) -> str:
    """The token's id, as the server let it through; raises Invalid."""
    return _token(subject.removeprefix("writ.enrol."), "token")


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


def inbox_prefix(name: str) -> str:
    """Where a user listens for answers: `name` is the principal's id, `agent-<pool>`, `enrol-<token>`, or the role."""
    return f"_INBOX_{name}"
