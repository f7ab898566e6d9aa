"""The one registry of subjects: which message goes where, who may send it, who serves it.

From this table come the AsyncAPI document, the NATS server's account permissions (`writ_bus.server_config`) and the
tests that try what must be refused. A subject that is not here cannot be used by anyone.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from writ_contracts import agents, audit, decisions, journal, requests


class Role(StrEnum):
    """Who connects to NATS. Each principal, pool and service has an account of its own; executors have CORE."""

    PRINCIPAL = "principal"
    EXECUTOR = "executor"
    POLICY = "policy"
    AUDIT = "audit"
    AGENT = "agent"


class Style(StrEnum):
    """How the subject is used."""

    REQUEST = "request"
    """Request/reply: senders ask, servers (a queue group) answer."""
    PUBLISH = "publish"
    """Core publish, at most once."""
    STREAM = "stream"
    """Stored in a stream by the senders, read by the servers."""
    REPUBLISH = "republish"
    """Published by the server itself when the stream has stored it."""


class Channel(Struct, frozen=True, kw_only=True):
    """One family of subjects. `{name}` is one token, `{rest}` at the end one or more."""

    name: str
    address: str
    summary: str
    style: Style
    senders: tuple[Role, ...]
    receivers: tuple[Role, ...]
    message: Any
    answer: Any = None

    def subject(self, **tokens: str) -> str:
        """The address as a NATS subject filter: given tokens filled in, the others `*`, `{rest}` as `>`."""
        parts = (self._part(part, tokens) for part in self.address.split("."))
        return ".".join(parts)

    @staticmethod
    def _part(part: str, tokens: dict[str, str]) -> str:
        if not part.startswith("{"):
            return part
        name = part[1:-1]
        return tokens.get(name, ">" if name == "rest" else "*")


R, S = Role, Style

CHANNELS: tuple[Channel, ...] = (
    Channel(
        name="request",
        address="writ.request.{principal}.{operation}",
        summary="Ask for an operation. Answered once the decision is durable.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.EXECUTOR,),
        message=requests.Request,
        answer=requests.Answer,
    ),
    Channel(
        name="query_operation",
        address="writ.query.{principal}.operation",
        summary="How does one operation stand?",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.EXECUTOR,),
        message=requests.OperationQuery,
        answer=requests.OperationAnswer,
    ),
    Channel(
        name="query_operations",
        address="writ.query.{principal}.operations",
        summary="Which of my operations have not ended?",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.EXECUTOR,),
        message=requests.OpenQuery,
        answer=requests.OperationsAnswer,
    ),
    Channel(
        name="query_result",
        address="writ.query.{principal}.result",
        summary="The full output of one of my operations.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.EXECUTOR,),
        message=requests.OperationQuery,
        answer=requests.ResultAnswer,
    ),
    Channel(
        name="query_simulate",
        address="writ.query.{principal}.simulate",
        summary="What would be decided? Nothing is recorded or done.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.EXECUTOR,),
        message=requests.SimulateQuery,
        answer=requests.SimulateAnswer,
    ),
    Channel(
        name="query_targets",
        address="writ.query.{principal}.targets",
        summary="Which targets are there?",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.EXECUTOR,),
        message=requests.TargetsQuery,
        answer=requests.TargetsAnswer,
    ),
    Channel(
        name="query_trace",
        address="writ.query.{principal}.trace",
        summary="All events of an operation or a correlation id.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.AUDIT,),
        message=audit.TraceQuery,
        answer=audit.TraceAnswer,
    ),
    Channel(
        name="query_search",
        address="writ.query.{principal}.search",
        summary="Operations by principal, target, operation, outcome and time.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.AUDIT,),
        message=audit.SearchQuery,
        answer=audit.SearchAnswer,
    ),
    Channel(
        name="policy_decide",
        address="writ.policy.decide",
        summary="May this be? Answered with a signed decision.",
        style=S.REQUEST,
        senders=(R.EXECUTOR, R.AUDIT),
        receivers=(R.POLICY,),
        message=decisions.Decide,
        answer=decisions.Decided,
    ),
    Channel(
        name="policy_grant",
        address="writ.policy.grant",
        summary="May this claim start now? Answered with a signed grant, or a decision that denies.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.POLICY,),
        message=decisions.AskGrant,
        answer=decisions.Granted,
    ),
    Channel(
        name="claim",
        address="writ.claim.{pool}",
        summary="An agent asks to start a dispatched operation.",
        style=S.REQUEST,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.ClaimMessage,
        answer=agents.ClaimAnswer,
    ),
    Channel(
        name="receipt",
        address="writ.receipt.{pool}",
        summary="An agent says what it did.",
        style=S.REQUEST,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.ReceiptMessage,
        answer=agents.Acknowledged,
    ),
    Channel(
        name="report",
        address="writ.report.{pool}",
        summary="An agent saw something that should not happen.",
        style=S.REQUEST,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.ReportMessage,
        answer=agents.Acknowledged,
    ),
    Channel(
        name="heartbeat",
        address="writ.heartbeat.{pool}",
        summary="An agent instance is there, running these. Heard by every executor.",
        style=S.PUBLISH,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.Heartbeat,
    ),
    Channel(
        name="progress",
        address="writ.progress.{pool}",
        summary="How far an operation is.",
        style=S.PUBLISH,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.Progress,
    ),
    Channel(
        name="look",
        address="writ.agent.{pool}.look",
        summary="Read something on a host, under a signed read-only grant.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=agents.AskLook,
        answer=agents.Looked,
    ),
    Channel(
        name="cancel",
        address="writ.agent.{pool}.cancel.{instance}",
        summary="Stop a running operation, under a signed decision.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=agents.AskCancel,
        answer=agents.Cancelled,
    ),
    Channel(
        name="journal",
        address="writ.journal.{rest}",
        summary="The record. Written by executors only, each append with its expected sequence.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.EXECUTOR, R.POLICY, R.AUDIT),
        message=journal.JournalEvent,
    ),
    Channel(
        name="dispatched",
        address="writ.journal.op.{principal}.{operation_id}.dispatched.{pool}.{target}",
        summary="Work for a pool, pulled through its own durable consumer.",
        style=S.STREAM,
        senders=(),
        receivers=(R.AGENT,),
        message=journal.Dispatched,
    ),
    Channel(
        name="events",
        address="writ.event.op.{principal}.{rest}",
        summary="The events of a principal's own operations, as they are stored, and the progress between them.",
        style=S.REPUBLISH,
        senders=(R.EXECUTOR,),
        receivers=(R.PRINCIPAL,),
        message=journal.OperationEvent | agents.Progress,
    ),
    Channel(
        name="all_events",
        address="writ.event.{rest}",
        summary="The journal as it is stored, for those who follow all of it.",
        style=S.REPUBLISH,
        senders=(),
        receivers=(R.EXECUTOR, R.POLICY, R.AUDIT),
        message=journal.JournalEvent,
    ),
    Channel(
        name="params",
        address="writ.params.{rest}",
        summary="Parameters that must not be in the journal, encrypted, until the outcome.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.EXECUTOR,),
        message=bytes,
    ),
    Channel(
        name="results",
        address="writ.result.{principal}.{operation_id}",
        summary="Full outputs, encrypted, for an hour.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.EXECUTOR,),
        message=bytes,
    ),
)


def channel(name: str) -> Channel:
    """The channel of that name; raises KeyError."""
    return next(item for item in CHANNELS if item.name == name)
