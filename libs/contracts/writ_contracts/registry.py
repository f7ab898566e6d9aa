# long: one table, which is read as one
"""The one registry of subjects: which message goes where, who may send it, who serves it.

From this table come the AsyncAPI document, the NATS server's account permissions (`writ_nats_server.config`) and the
tests that try what must be refused. A subject that is not here cannot be used by anyone.
"""

from writ_contracts import agents, approvals, audit, decisions, enrolment, facts, journal, notices, policies, requests
from writ_contracts.channels import Channel as Channel
from writ_contracts.channels import Role as Role
from writ_contracts.channels import Style as Style
from writ_contracts.questions import QUESTIONS, Question
from writ_contracts.signing import Signed

R, S = Role, Style


def _question(one: Question) -> Channel:
    return Channel(
        name=f"query_{one.kind}",
        address=f"writ.query.{{principal}}.{one.kind}",
        summary=one.summary,
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R(one.answered_by),),
        message=one.message,
        answer=one.answer,
    )


EXECUTORS_EVENTS: tuple[type[journal.Event], ...] = (
    journal.Requested,
    journal.Refused,
    journal.AwaitingApproval,
    journal.Started,
    journal.CancelRequested,
    journal.Finished,
    journal.Unknown,
    journal.Resolved,
    journal.Archived,
)
"""Events of operations that executors write. Each kind has a channel of its own: NATS lends an account whole filters,
and what an account may send, any of its users can have sent as an answer. So a kind that another service writes must
not be under a filter of the executors.
"""


POLICYS_EVENTS: tuple[type[journal.Event], ...] = (journal.ApprovalGiven, journal.Approved, journal.Rejected)
"""Events of operations that policy alone writes, besides `granted`: no executor can approve, or drop a rejection."""


def _recorded(event: type[journal.Event], sender: Role = Role.EXECUTOR) -> Channel:
    kind = str(event.__struct_config__.tag)
    return Channel(
        name=f"journal_{kind}",
        address=f"writ.journal.op.{{principal}}.{{operation_id}}.{kind}",
        summary=f"The record: {(event.__doc__ or '').partition(chr(10))[0]}",
        style=S.STREAM,
        senders=(sender,),
        receivers=(),
        message=event,
    )


CHANNELS: tuple[Channel, ...] = (
    Channel(
        name="request",
        address="writ.request.{principal}.{operation}",
        summary="Ask for an operation. Answered once the decision is durable.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.EXECUTOR,),
        message=requests.Request,
        answer=requests.RequestAnswer,
    ),
    *map(_question, QUESTIONS),
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
        answer=decisions.GrantAnswer,
    ),
    Channel(
        name="approval",
        address="writ.approval.{principal}",
        summary="A person approves or rejects a pending operation. Answered once policy has recorded it.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.POLICY,),
        message=approvals.ApprovalMessage,
        answer=approvals.ApprovalAnswer,
    ),
    Channel(
        name="notice_policy",
        address="writ.notice.policy",
        summary="Policy has something recorded: a file or version that cannot be used, or one that counts now.",
        style=S.REQUEST,
        senders=(R.POLICY,),
        receivers=(R.EXECUTOR,),
        message=notices.Notice,
        answer=notices.Noted,
    ),
    Channel(
        name="notice_audit",
        address="writ.notice.audit",
        summary="Audit has something recorded: who was refused what.",
        style=S.REQUEST,
        senders=(R.AUDIT,),
        receivers=(R.EXECUTOR,),
        message=notices.Notice,
        answer=notices.Noted,
    ),
    Channel(
        name="notice_keeper",
        address="writ.notice.keeper",
        summary="The keeper has something recorded: an agent that was let in, or one that was not.",
        style=S.REQUEST,
        senders=(R.KEEPER,),
        receivers=(R.EXECUTOR,),
        message=notices.Notice,
        answer=notices.Noted,
    ),
    Channel(
        name="enrol",
        address="writ.enrol.{token}",
        summary="A host with a one-time token names the key that it made for its agent.",
        style=S.REQUEST,
        senders=(R.ENROLLER,),
        receivers=(R.KEEPER,),
        message=enrolment.Enrol,
        answer=enrolment.Enrolled,
    ),
    Channel(
        name="audit_standing",
        address="writ.audit.standing",
        summary="An audit service is there, and how far its index is. Heard by every executor.",
        style=S.PUBLISH,
        senders=(R.AUDIT,),
        receivers=(R.EXECUTOR,),
        message=audit.AuditStanding,
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
        summary="An agent saw something that should not happen. Executors answer; audit hears it as well.",
        style=S.REQUEST,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR, R.AUDIT),
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
        message=agents.AskRead,
        answer=agents.ReadReply,
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
        summary="The record, as it is read. Who may write which kind of event is told with each kind.",
        style=S.STREAM,
        senders=(),
        receivers=(R.EXECUTOR, R.POLICY, R.AUDIT),
        message=journal.JournalEvent,
    ),
    *map(_recorded, EXECUTORS_EVENTS),
    *(_recorded(event, Role.POLICY) for event in POLICYS_EVENTS),
    Channel(
        name="journal_dispatched",
        address="writ.journal.op.{principal}.{operation_id}.dispatched.{pool}.{target}",
        summary="Work for a pool, which pulls it through its own durable consumer.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=journal.Dispatched,
    ),
    Channel(
        name="journal_granted",
        address="writ.journal.op.{principal}.{operation_id}.granted",
        summary="The record: a claim got its grant. Written by policy alone, so that a grant is used once.",
        style=S.STREAM,
        senders=(R.POLICY,),
        receivers=(),
        message=journal.Granted,
    ),
    Channel(
        name="journal_control",
        address="writ.journal.control.{kind}",
        summary="The record: what all decisions after it must know.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.ControlEvent,
    ),
    Channel(
        name="journal_security",
        address="writ.journal.security.{kind}",
        summary="The record: what should not happen. Policy and audit write here what an executor could keep back.",
        style=S.STREAM,
        senders=(R.EXECUTOR, R.POLICY, R.AUDIT),
        receivers=(),
        message=journal.SecurityEvent,
    ),
    Channel(
        name="journal_refused",
        address="writ.journal.refused.{principal}",
        summary="The record: how many attempts of a principal were turned away unrecorded.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.RefusedSummary,
    ),
    Channel(
        name="journal_lock",
        address="writ.journal.limit.target.{target}",
        summary="The record: which operation changes this target now.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.LockTaken,
    ),
    Channel(
        name="journal_limit",
        address="writ.journal.limit.rule.{line}",
        summary="The record: which operation was let in last under this limit of a rule.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.LimitTaken,
    ),
    Channel(
        name="events",
        address="writ.event.op.{principal}.{rest}",
        summary="The events of a principal's own operations, as they are stored.",
        style=S.REPUBLISH,
        senders=(),
        receivers=(R.PRINCIPAL,),
        message=journal.OperationEvent,
    ),
    Channel(
        name="progress_events",
        address="writ.event.op.{principal}.{operation_id}.progress",
        summary="How far a principal's operation is, between its events.",
        style=S.REPUBLISH,
        senders=(R.EXECUTOR,),
        receivers=(R.PRINCIPAL,),
        message=agents.Progress,
    ),
    Channel(
        name="approval_events",
        address="writ.event.approval.{principal}",
        summary="An operation waits for an approval of this person, or does not any more.",
        style=S.REPUBLISH,
        senders=(R.EXECUTOR, R.POLICY),
        receivers=(R.PRINCIPAL,),
        message=approvals.ApprovalEvent,
    ),
    Channel(
        name="all_events",
        address="writ.event.{rest}",
        summary="The journal as it is stored, for those who follow all of it.",
        style=S.REPUBLISH,
        senders=(),
        receivers=(R.EXECUTOR,),
        message=journal.JournalEvent,
    ),
    Channel(
        name="policy_files",
        address="writ.policies.file",
        summary="The policy file as a version, signed by policy, while nobody has published.",
        style=S.STREAM,
        senders=(R.POLICY,),
        receivers=(R.EXECUTOR, R.POLICY),
        message=policies.StoredPolicy,
    ),
    Channel(
        name="published_policies",
        address="writ.policies.published.{operation_id}",
        summary="What somebody published or rolled back to, with their signature and policy's.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.EXECUTOR, R.POLICY),
        message=policies.StoredPolicy,
    ),
    Channel(
        name="scan",
        address="writ.scan.{principal}",
        summary="What a scanner finds on a target now; it takes the place of its earlier report.",
        style=S.REQUEST,
        senders=(R.SCANNER,),
        receivers=(R.POLICY,),
        message=facts.ScanReport,
        answer=facts.Reported,
    ),
    Channel(
        name="scanned",
        address="writ.scanned.{principal}.{target}",
        summary="The last report of each scanner on each target, a StoredReport signed by policy.",
        style=S.STREAM,
        senders=(R.POLICY,),
        receivers=(R.POLICY,),
        message=Signed,
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
