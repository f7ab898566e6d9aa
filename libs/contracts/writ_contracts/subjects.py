"""Every NATS subject of Writ, built and parsed here and nowhere else.

A subject's tokens are identifiers of `ids` or fixed words, never free text: `_token` refuses a text which could add a
token or a wildcard.
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
"""The journal's only subject while its beginning is removed. The bootstrap user probes its last sequence there."""
REPUBLISHED = "writ.event.>"
PARAMS = "writ.params.>"
RESULTS = "writ.result.>"
POLICIES = "writ.policies.>"
POLICY_FILE = "writ.policies.file"
SCANS_STREAM = "WRIT_SCANS"
STREAMS = (JOURNAL_STREAM, POLICIES_STREAM, SCANS_STREAM, PARAMS_STREAM, RESULTS_STREAM)
SCANS = "writ.scanned.>"
CONTROL = "writ.journal.control.>"
LIMITS = "writ.journal.limit."
SECURITY = "writ.journal.security.>"

POLICY_DECIDE = "writ.policy.decide"
POLICY_PEOPLE = "writ.policy.people"
POLICY_RECORD_READ = "writ.policy.record_read"
POLICY_GRANT = "writ.policy.grant"
POLICY_VISIBLE = "writ.policy.visible"
NOTICE_POLICY = "writ.notice.policy"
NOTICE_AUDIT = "writ.notice.audit"
NOTICE_PROVISIONER = "writ.notice.keeper"
AUDIT_STANDING = "writ.audit.standing"
SEARCH_DIGESTS = "writ.search.digests"

_TOKEN = re.compile(TOKEN_PATTERN)
_CLAIMED = re.compile(r"[^A-Za-z0-9_-]")


def _token(value: str, what: str) -> str:
    if not _TOKEN.search(value):
        raise Invalid(f"{what} {value[:80]!r} cannot be a subject token")
    return value


def request(principal: str, operation: str) -> str:
    """Return the subject of a principal's requests."""
    return f"writ.request.{_token(principal, 'principal')}.{_token(operation, 'operation')}"


def query(principal: str, kind: str) -> str:
    """Return the subject of a principal's queries: operation, operations, result, simulate, targets, backend_test,
    journal (executor); trace, search (audit); policy_history, policy_show, policy_status, sessions (policy).
    """
    return f"writ.query.{_token(principal, 'principal')}.{_token(kind, 'query')}"


def operation_event(principal: str, operation_id: str, event: str, *, pool: str = "", target: str = "") -> str:
    """Return the subject of an operation's event; what dispatches it also names pool and target."""
    head = f"{_operation(principal, operation_id)}.{_token(event, 'event')}"
    return f"{head}.{_token(pool, 'pool')}.{_token(target, 'target')}" if pool else head


def operation_filter(principal: str, operation_id: str) -> str:
    """Return the filter of all events of one operation: the one spelling used by every expected sequence."""
    return f"{_operation(principal, operation_id)}.>"


def _operation(principal: str, operation_id: str) -> str:
    return f"writ.journal.op.{_token(principal, 'principal')}.{_token(operation_id, 'operation id')}"


def every_operation_filter(event: str) -> str:
    """Return the filter of the events of this kind of all operations, for kinds without further tokens."""
    return f"writ.journal.op.*.*.{_token(event, 'event')}"


def dispatched_requests_filter() -> str:
    """Return the filter of the requests of all operations that were dispatched at once."""
    return "writ.journal.op.*.*.requested.*.*"


def any_operation_filter(operation_id: str) -> str:
    """Return the filter of all events of an operation of an unknown principal."""
    return f"writ.journal.op.*.{_token(operation_id, 'operation id')}.>"


def dispatched_filter(pool: str) -> str:
    """Return the filter of the operations the agents of a pool pull: `dispatched`, and `requested` that are dispatched
    at once.
    """
    return f"writ.journal.op.*.*.*.{_token(pool, 'pool')}.>"


def target_lock(target: str) -> str:
    return f"writ.journal.limit.target.{_token(target, 'target')}"


@lru_cache(maxsize=1024)
def limit_line(rule: str, kind: str) -> str:
    """Return the subject of the operations counted under this limit; the rule's name may be any text."""
    return f"writ.journal.limit.rule.{encode_id(sha256(f'{kind} {rule}'.encode()).digest()[:16])}"


@lru_cache(maxsize=1024)
def limit_count(rule: str, kind: str) -> str:
    """Return the subject of policy's own count under this limit."""
    return f"writ.journal.counted.{encode_id(sha256(f'{kind} {rule}'.encode()).digest()[:16])}"


def scan(scanner: str) -> str:
    """Return the subject of a scanner's reports."""
    return f"writ.scan.{_token(scanner, 'scanner')}"


def can_scan(name: str) -> bool:
    """Return whether a scanner can have this name; rules may contain others."""
    return _TOKEN.search(name) is not None


def parse_scan(subject: str) -> str:
    """Return the scanner of a report's subject, which the server has checked; raises Invalid."""
    return _token(subject.removeprefix("writ.scan."), "scanner")


def scanned(scanner: str, target: str) -> str:
    """Return the subject of the last stored report of a scanner on a target."""
    return f"writ.scanned.{_token(scanner, 'scanner')}.{_token(target, 'target')}"


def window_uses(window: str) -> str:
    """Return the subject of the uses of an approval window."""
    return f"writ.journal.window.{_token(window, 'window')}"


def security_event(kind: str) -> str:
    return f"writ.journal.security.{_token(kind, 'kind')}"


def record_read(principal: str) -> str:
    """Return the subject of allowed reads of others' records by this principal."""
    return f"writ.journal.read.{_token(principal, 'principal')}"


def refused_summary(principal: str) -> str:
    """Return the subject of the count of a flood's unrecorded refusals."""
    return f"writ.journal.refused.{_token(principal, 'principal')}"


def control_event(kind: str) -> str:
    return f"writ.journal.control.{_token(kind, 'kind')}"


def published_policy(operation_id: str) -> str:
    """Return the subject of the version published by an operation; it is stored once."""
    return f"writ.policies.published.{_token(operation_id, 'operation id')}"


def consumer(pool: str) -> str:
    """Return the name of a pool's durable consumer."""
    return f"agent-{_token(pool, 'pool')}"


def events_of(principal: str) -> str:
    """Return the filter of a requester's subscription to all of its operations."""
    return f"writ.event.op.{_token(principal, 'principal')}.>"


def progress_event(principal: str, operation_id: str) -> str:
    """Return the subject on which an executor relays an agent's progress to the requester."""
    return f"writ.event.op.{_token(principal, 'principal')}.{_token(operation_id, 'operation id')}.progress"


def approval(principal: str) -> str:
    """Return the subject to which a person sends a signed approval or rejection."""
    return f"writ.approval.{_token(principal, 'principal')}"


def parse_approval(subject: str) -> str:
    """Return the principal of an approval's subject, as the server let it through. Raises Invalid."""
    return _token(subject.removeprefix("writ.approval."), "principal")


def approval_event(principal: str) -> str:
    """Return the subject by which an approver learns of pending operations, and of their ends."""
    return f"writ.event.approval.{_token(principal, 'principal')}"


def enrol(token: str) -> str:
    """Return the subject on which a host with this token enrols."""
    return f"writ.enrol.{_token(token, 'token')}"


def parse_enrol(subject: str) -> str:
    """Return the token's id, which the server has checked; raises Invalid."""
    return _token(subject.removeprefix("writ.enrol."), "token")


def claim(pool: str) -> str:
    """Return the subject of claims: agents to executors."""
    return f"writ.claim.{_token(pool, 'pool')}"


def receipt(pool: str) -> str:
    """Return the subject of receipts: agents to executors."""
    return f"writ.receipt.{_token(pool, 'pool')}"


def report(pool: str) -> str:
    """Return the subject of security reports: agents to executors."""
    return f"writ.report.{_token(pool, 'pool')}"


def heartbeat(pool: str) -> str:
    """Return the subject of heartbeats: agents to every executor."""
    return f"writ.heartbeat.{_token(pool, 'pool')}"


def progress(pool: str) -> str:
    """Return the subject of progress: agents to executors."""
    return f"writ.progress.{_token(pool, 'pool')}"


def host_read(pool: str) -> str:
    """Return the subject of reads: executors to any agent of a pool."""
    return f"writ.agent.{_token(pool, 'pool')}.look"


def baseline_notice(pool: str) -> str:
    """Return the subject of notices of soon dispatched operations: executors to the agent of a pool."""
    return f"writ.agent.{_token(pool, 'pool')}.baseline"


def people_notice(pool: str) -> str:
    """Return the subject of notices of a directory of people's credentials: executors to every agent of a pool."""
    return f"writ.agent.{_token(pool, 'pool')}.people"


def cancel(pool: str, instance: str) -> str:
    """Return the subject of cancels: executors to one agent instance."""
    return f"writ.agent.{_token(pool, 'pool')}.cancel.{_token(instance, 'instance')}"


class EventSubject(Struct, frozen=True, kw_only=True):
    """The parts of `writ.journal.op.…` or `writ.event.op.…`."""

    principal: str
    operation_id: str
    event: str


@lru_cache(maxsize=64)
def parse_event(subject: str) -> EventSubject | None:
    """Return the parts of an operation event's subject; None for other subjects. Called for each event that is read."""
    tokens = subject.split(".")
    if len(tokens) < 6 or tokens[0] != "writ" or tokens[1] not in ("journal", "event") or tokens[2] != "op":
        return None
    return EventSubject(principal=tokens[3], operation_id=tokens[4], event=tokens[5])


def parse_request(subject: str) -> tuple[str, str]:
    """Return (principal, operation) of a request's subject, which the server has checked; raises Invalid."""
    return _two(subject, "writ.request.")


def parse_query(subject: str) -> tuple[str, str]:
    """Return (principal, kind) of a query's subject; raises Invalid."""
    return _two(subject, "writ.query.")


def parse_pool(subject: str) -> str:
    """Return the pool of `writ.<claim|receipt|report|heartbeat|progress>.<pool>`; raises Invalid."""
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
    """Return a claimed name of an operation or target, safe to store and show: cut to 64, odd characters as `_`."""
    return _CLAIMED.sub("_", claimed[:64])


def inbox_prefix(name: str) -> str:
    """Return the inbox prefix of a user: `name` is the principal's id, `agent-<pool>`, `enrol-<token>`, or the role."""
    return f"_INBOX_{name}"


def replies_to_all(inbox: str) -> str:
    """Return the prefix of replies to requests that everybody replies to, such as discovery, within this inbox."""
    return f"{inbox}.all"
