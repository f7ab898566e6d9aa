# long: one table, which is read as one
"""The one registry of subjects: message, senders and receivers of each.

From this table come the AsyncAPI document, the NATS server's account permissions (`writ_nats_server.config`) and the
tests of refused uses. A subject missing here cannot be used by anyone.
"""

import re

from msgspec import Struct

from writ_contracts import agents, decisions, journal, notices, requests
from writ_contracts.channels import Channel as Channel
from writ_contracts.channels import Role as Role
from writ_contracts.channels import Style as Style
from writ_contracts.history import audit, search_digests
from writ_contracts.installation import enrolment, provisioning
from writ_contracts.people import approvals, directory
from writ_contracts.policy import facts, listing, versions
from writ_contracts.questions import QUESTIONS, QueryKind
from writ_contracts.signing import Signed

R, S = Role, Style
END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


def _question(one: QueryKind) -> Channel:
    return Channel(
        name=f"query_{one.kind}",
        address=f"writ.query.{{principal}}.{one.kind}",
        summary=one.summary,
        style=S.REQUEST,
        senders=(R.PRINCIPAL, R.GATEWAY) if one.delegated else (R.PRINCIPAL,),
        receivers=(R(one.answered_by),),
        message=one.message,
        answer=one.answer,
    )


EXECUTORS_EVENTS: tuple[type[journal.Event], ...] = (
    journal.Requested,
    journal.Refused,
    journal.AwaitingApproval,
    journal.PreviewTaken,
    journal.Started,
    journal.CancelRequested,
    journal.Finished,
    journal.Unknown,
    journal.Resolved,
    journal.Archived,
)
"""Events of operations that executors write. Each kind has a channel of its own: NATS permits an account whole filters,
and whatever an account may send, each of its users can have sent as a reply. So a kind that another service writes must
not be under a filter of the executors.
"""


POLICYS_EVENTS: tuple[type[journal.Event], ...] = (journal.ApprovalGiven, journal.Approved, journal.Rejected)
"""Events of operations that policy alone writes, besides `granted`: no executor can approve, or drop a rejection."""


def summary_of(message: type[Struct]) -> str:
    """Return the first sentence of the message's docstring, on one line."""
    text = " ".join((message.__doc__ or "").split())
    return END_OF_SENTENCE.split(text, maxsplit=1)[0]


def _recorded(event: type[journal.Event], sender: Role = Role.EXECUTOR) -> Channel:
    kind = str(event.__struct_config__.tag)
    return Channel(
        name=f"journal_{kind}",
        address=f"writ.journal.op.{{principal}}.{{operation_id}}.{kind}",
        summary=f"The journal: {summary_of(event)}",
        style=S.STREAM,
        senders=(sender,),
        receivers=(),
        message=event,
    )


CHANNELS: tuple[Channel, ...] = (
    Channel(
        name="request",
        address="writ.request.{principal}.{operation}",
        summary="A request for an operation. The reply comes once the decision is durable.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL, R.GATEWAY),
        receivers=(R.EXECUTOR,),
        message=requests.Request,
        answer=requests.RequestReply,
    ),
    *map(_question, QUESTIONS),
    Channel(
        name="policy_decide",
        address="writ.policy.decide",
        summary="A request for a decision. The reply is a signed decision.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.POLICY,),
        message=decisions.DecideRequest,
        answer=decisions.DecideReply,
    ),
    Channel(
        name="policy_record_read",
        address="writ.policy.record_read",
        summary="A request for a decision on `audit_read`, and on nothing else: a read of others' records.",
        style=S.REQUEST,
        senders=(R.AUDIT,),
        receivers=(R.POLICY,),
        message=decisions.RecordReadRequest,
        answer=decisions.DecideReply,
    ),
    Channel(
        name="policy_grant",
        address="writ.policy.grant",
        summary="A request for a grant of one claim. The reply is a signed grant, or a decision that denies.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.POLICY,),
        message=decisions.GrantRequest,
        answer=decisions.GrantReply,
    ),
    Channel(
        name="policy_people",
        address="writ.policy.people",
        summary="A request for the signed directory of people's credentials, for an agent that verifies an approval.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.POLICY,),
        message=directory.PeopleRequest,
        answer=directory.PeopleReply,
    ),
    Channel(
        name="policy_visible",
        address="writ.policy.visible",
        summary="A request for the targets and operations that a principal may list.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.POLICY,),
        message=listing.VisibleRequest,
        answer=listing.VisibleReply,
    ),
    Channel(
        name="approval",
        address="writ.approval.{principal}",
        summary="A person approves or rejects a pending operation. Answered once policy has recorded it.",
        style=S.REQUEST,
        senders=(R.PRINCIPAL,),
        receivers=(R.POLICY,),
        message=approvals.ApprovalMessage,
        answer=approvals.ApprovalReply,
    ),
    Channel(
        name="notice_policy",
        address="writ.notice.policy",
        summary="A notice of policy for the journal: an unusable file or version, or one that is in force now.",
        style=S.REQUEST,
        senders=(R.POLICY,),
        receivers=(R.EXECUTOR,),
        message=notices.Notice,
        answer=notices.NoticeReply,
    ),
    Channel(
        name="notice_audit",
        address="writ.notice.audit",
        summary="A notice of audit for the journal: a refused read.",
        style=S.REQUEST,
        senders=(R.AUDIT,),
        receivers=(R.EXECUTOR,),
        message=notices.Notice,
        answer=notices.NoticeReply,
    ),
    Channel(
        name="notice_keeper",
        address="writ.notice.keeper",
        summary="A notice of the provisioner for the journal: an agent that was enrolled or refused.",
        style=S.REQUEST,
        senders=(R.KEEPER,),
        receivers=(R.EXECUTOR,),
        message=notices.Notice,
        answer=notices.NoticeReply,
    ),
    Channel(
        name="enrol",
        address="writ.enrol.{token}",
        summary="Enrolment: a host with a one-time token names its agent's new key.",
        style=S.REQUEST,
        senders=(R.ENROLLER,),
        receivers=(R.KEEPER,),
        message=enrolment.EnrolmentRequest,
        answer=enrolment.EnrolmentReply,
    ),
    Channel(
        name="provision",
        address="writ.provision",
        summary="A change of principals was recorded: the provisioner applies it to NATS before it replies.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.KEEPER,),
        message=provisioning.ProvisionRequest,
        answer=provisioning.ProvisionReply,
    ),
    Channel(
        name="audit_standing",
        address="writ.audit.standing",
        summary="The progress of an audit service's index. Every executor receives it.",
        style=S.PUBLISH,
        senders=(R.AUDIT,),
        receivers=(R.EXECUTOR,),
        message=audit.AuditStanding,
    ),
    Channel(
        name="search_digests",
        address="writ.search.digests",
        summary="A request for the search digests of values that the journal does not have in clear.",
        style=S.REQUEST,
        senders=(R.AUDIT,),
        receivers=(R.EXECUTOR,),
        message=search_digests.SearchDigestsRequest,
        answer=search_digests.SearchDigestsReply,
    ),
    Channel(
        name="claim",
        address="writ.claim.{pool}",
        summary="An agent asks to start a dispatched operation.",
        style=S.REQUEST,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.ClaimMessage,
        answer=agents.ClaimReply,
    ),
    Channel(
        name="receipt",
        address="writ.receipt.{pool}",
        summary="An agent's receipt of one operation.",
        style=S.REQUEST,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.ReceiptMessage,
        answer=agents.Acknowledgement,
    ),
    Channel(
        name="report",
        address="writ.report.{pool}",
        summary="An agent's report of an attack or a defect. Executors reply; audit receives it as well.",
        style=S.REQUEST,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR, R.AUDIT),
        message=agents.ReportMessage,
        answer=agents.Acknowledgement,
    ),
    Channel(
        name="heartbeat",
        address="writ.heartbeat.{pool}",
        summary="A heartbeat of an agent instance with its running operations. Every executor receives it.",
        style=S.PUBLISH,
        senders=(R.AGENT,),
        receivers=(R.EXECUTOR,),
        message=agents.Heartbeat,
    ),
    Channel(
        name="progress",
        address="writ.progress.{pool}",
        summary="Progress of an operation.",
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
        message=agents.ReadRequest,
        answer=agents.ReadReply,
    ),
    Channel(
        name="baseline_notice",
        address="writ.agent.{pool}.baseline",
        summary="Notice of an operation that is soon dispatched. Its baseline may be read already, under a read grant.",
        style=S.PUBLISH,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=agents.BaselineNotice,
    ),
    Channel(
        name="people_notice",
        address="writ.agent.{pool}.people",
        summary="The directory of people's credentials in force. Every agent of the pool receives it.",
        style=S.PUBLISH,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=directory.PeopleNoticeMessage,
    ),
    Channel(
        name="cancel",
        address="writ.agent.{pool}.cancel.{instance}",
        summary="Stop a running operation, under a signed decision.",
        style=S.REQUEST,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=agents.CancelRequest,
        answer=agents.CancelReply,
    ),
    Channel(
        name="journal",
        address="writ.journal.{rest}",
        summary="The journal, for readers. Each kind of event has a channel with its writers.",
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
        summary="Dispatched operations of a pool, which pulls them through its own durable consumer.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=journal.Dispatched,
    ),
    Channel(
        name="journal_dispatched_request",
        address="writ.journal.op.{principal}.{operation_id}.requested.{pool}.{target}",
        summary="Requests that are dispatched at once, since they wait for nothing. The pool pulls them as well.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.AGENT,),
        message=journal.Requested,
    ),
    Channel(
        name="journal_granted",
        address="writ.journal.op.{principal}.{operation_id}.granted",
        summary="The journal: a claim got its grant. Written by policy alone, so that a grant is used once.",
        style=S.STREAM,
        senders=(R.POLICY,),
        receivers=(),
        message=journal.Granted,
    ),
    Channel(
        name="journal_window",
        address="writ.journal.window.{window}",
        summary="The journal: the uses of an approval window. Written by policy alone, each with its `granted`.",
        style=S.STREAM,
        senders=(R.POLICY,),
        receivers=(),
        message=journal.WindowUsed,
    ),
    Channel(
        name="journal_control",
        address="writ.journal.control.{kind}",
        summary="The journal: control events, which all later decisions must include.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.ControlEvent,
    ),
    Channel(
        name="journal_security",
        address="writ.journal.security.{kind}",
        summary="The journal: security events. Policy and audit write those that an executor could suppress.",
        style=S.STREAM,
        senders=(R.EXECUTOR, R.POLICY, R.AUDIT),
        receivers=(),
        message=journal.SecurityEvent,
    ),
    Channel(
        name="journal_read",
        address="writ.journal.read.{principal}",
        summary="The journal: reads of others' records that policy allowed.",
        style=S.STREAM,
        senders=(R.AUDIT,),
        receivers=(),
        message=journal.RecordRead,
    ),
    Channel(
        name="journal_refused",
        address="writ.journal.refused.{principal}",
        summary="The journal: the number of a principal's requests that were refused without a record.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.RefusedSummary,
    ),
    Channel(
        name="journal_lock",
        address="writ.journal.limit.target.{target}",
        summary="The journal: the lock of a target, with the operation that changes it.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.LockTaken,
    ),
    Channel(
        name="journal_limit",
        address="writ.journal.limit.rule.{line}",
        summary="The journal: the latest operation that counts under this limit of a rule.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(),
        message=journal.LimitTaken,
    ),
    Channel(
        name="journal_limit_count",
        address="writ.journal.counted.{line}",
        summary="The journal: the operations under this limit of a rule, counted by policy at each start.",
        style=S.STREAM,
        senders=(R.POLICY,),
        receivers=(),
        message=journal.LimitCounted,
    ),
    Channel(
        name="events",
        address="writ.event.op.{principal}.{rest}",
        summary="The events of a principal's own operations, as they are stored.",
        style=S.REPUBLISH,
        senders=(),
        receivers=(R.PRINCIPAL, R.GATEWAY),
        message=journal.OperationEvent,
    ),
    Channel(
        name="progress_events",
        address="writ.event.op.{principal}.{operation_id}.progress",
        summary="Progress of a principal's operation, between its events.",
        style=S.REPUBLISH,
        senders=(R.EXECUTOR,),
        receivers=(R.PRINCIPAL, R.GATEWAY),
        message=agents.Progress,
    ),
    Channel(
        name="approval_events",
        address="writ.event.approval.{principal}",
        summary="An operation waits for an approval of this person, or no longer waits.",
        style=S.REPUBLISH,
        senders=(R.EXECUTOR, R.POLICY),
        receivers=(R.PRINCIPAL,),
        message=approvals.ApprovalEvent,
    ),
    Channel(
        name="all_events",
        address="writ.event.{rest}",
        summary="Every event of the journal as it is stored, for services that follow all of it.",
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
        message=versions.StoredPolicy,
    ),
    Channel(
        name="published_policies",
        address="writ.policies.published.{operation_id}",
        summary="Published and rolled-back versions of the policy, with the author's signature and policy's.",
        style=S.STREAM,
        senders=(R.EXECUTOR,),
        receivers=(R.EXECUTOR, R.POLICY),
        message=versions.StoredPolicy,
    ),
    Channel(
        name="scan",
        address="writ.scan.{principal}",
        summary="A scanner's report of a target, which replaces its earlier one.",
        style=S.REQUEST,
        senders=(R.SCANNER,),
        receivers=(R.POLICY,),
        message=facts.ScanReport,
        answer=facts.ScanReply,
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
    """Return the channel with this name; raises KeyError."""
    return next(item for item in CHANNELS if item.name == name)
