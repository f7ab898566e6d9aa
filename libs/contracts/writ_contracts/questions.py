"""Queries of principals, which change nothing: `writ.query.<principal>.<kind>`, and the replying service."""

from typing import Any, Literal

from msgspec import Struct

from writ_contracts import requests, target_tests
from writ_contracts.history import audit
from writ_contracts.people import approvals, directory, previews, sessions
from writ_contracts.policy import access, questions, versions


class QueryKind(Struct, frozen=True, kw_only=True):
    """One kind of query, with the structs of both ways."""

    kind: str
    answered_by: Literal["executor", "policy", "audit"]
    message: Any
    answer: Any
    summary: str
    delegated: bool = True
    """A gateway may send it for a principal; queries of approvers it may not."""


QUESTIONS = (
    QueryKind(
        kind="operation",
        answered_by="executor",
        message=requests.OperationQuery,
        answer=requests.OperationReply,
        summary="The state of one of my operations.",
    ),
    QueryKind(
        kind="operations",
        answered_by="executor",
        message=requests.OpenQuery,
        answer=requests.OperationsReply,
        summary="My open operations.",
    ),
    QueryKind(
        kind="result",
        answered_by="executor",
        message=requests.OperationQuery,
        answer=requests.ResultReply,
        summary="The full output of one of my operations.",
    ),
    QueryKind(
        kind="simulate",
        answered_by="executor",
        message=requests.SimulateQuery,
        answer=requests.SimulateReply,
        summary="The decision on a request, without a record or an effect.",
    ),
    QueryKind(
        kind="targets",
        answered_by="executor",
        message=requests.TargetsQuery,
        answer=requests.TargetsReply,
        summary="The targets.",
    ),
    QueryKind(
        kind="backend_test",
        answered_by="executor",
        message=target_tests.BackendTestQuery,
        answer=target_tests.BackendTestReply,
        summary="A test of a target by its own agents.",
    ),
    QueryKind(
        kind="journal",
        answered_by="executor",
        message=audit.JournalQuery,
        answer=audit.JournalReply,
        summary="The journal's usage, and the part that can be archived.",
    ),
    QueryKind(
        kind="trace",
        answered_by="audit",
        message=audit.TraceQuery,
        answer=audit.TraceReply,
        summary="All events of an operation or a correlation id, or security events.",
    ),
    QueryKind(
        kind="search",
        answered_by="audit",
        message=audit.SearchQuery,
        answer=audit.SearchReply,
        summary="Operations by principal, target, operation, outcome and time.",
    ),
    QueryKind(
        kind="approvals",
        answered_by="policy",
        message=approvals.ApprovalsQuery,
        answer=approvals.ApprovalsReply,
        summary="The operations that wait for an approval which I could give.",
        delegated=False,
    ),
    QueryKind(
        kind="people",
        answered_by="policy",
        message=directory.PeopleQuery,
        answer=directory.PeopleReply,
        summary="The signed directory of people's credentials.",
    ),
    QueryKind(
        kind="approval",
        answered_by="policy",
        message=approvals.ApprovalQuery,
        answer=approvals.ApprovalCardReply,
        summary="One operation with all that its approver must verify.",
        delegated=False,
    ),
    QueryKind(
        kind="preview",
        answered_by="executor",
        message=previews.PreviewQuery,
        answer=previews.PreviewReply,
        summary="The details of a preview that the journal must not have, such as the diff of a file.",
    ),
    QueryKind(
        kind="sessions",
        answered_by="policy",
        message=sessions.SessionsQuery,
        answer=sessions.SessionsReply,
        summary="Open sessions: my own, or those of everybody.",
        delegated=False,
    ),
    QueryKind(
        kind="policy_history",
        answered_by="policy",
        message=versions.PolicyHistoryQuery,
        answer=versions.PolicyHistoryReply,
        summary="The versions of the policy.",
    ),
    QueryKind(
        kind="policy_show",
        answered_by="policy",
        message=versions.PolicyShowQuery,
        answer=versions.PolicyShowReply,
        summary="One version of the policy, with its document.",
    ),
    QueryKind(
        kind="policy_status",
        answered_by="policy",
        message=versions.PolicyStatusQuery,
        answer=versions.PolicyStatusReply,
        summary="The policy in force, and problems of its files.",
    ),
    QueryKind(
        kind="policy_can_i",
        answered_by="policy",
        message=questions.PolicyCanIQuery,
        answer=questions.PolicyCanIReply,
        summary="The decision on my own request, now.",
    ),
    QueryKind(
        kind="policy_explain",
        answered_by="policy",
        message=questions.PolicyExplainQuery,
        answer=questions.PolicyExplainReply,
        summary="The explanation of a decision.",
    ),
    QueryKind(
        kind="policy_eval",
        answered_by="policy",
        message=questions.PolicyEvalQuery,
        answer=questions.PolicyEvalReply,
        summary="The decisions on requests of any principal.",
    ),
    QueryKind(
        kind="policy_validate",
        answered_by="policy",
        message=questions.PolicyValidateQuery,
        answer=questions.PolicyValidateReply,
        summary="The problems of a document before it is published.",
    ),
    QueryKind(
        kind="policy_test",
        answered_by="policy",
        message=questions.PolicyTestQuery,
        answer=questions.PolicyTestReply,
        summary="The run of a suite of cases.",
    ),
    QueryKind(
        kind="policy_allowed",
        answered_by="policy",
        message=access.PolicyAllowedQuery,
        answer=access.PolicyAllowedReply,
        summary="The access of principals to targets.",
    ),
    QueryKind(
        kind="policy_who_can",
        answered_by="policy",
        message=access.PolicyWhoCanQuery,
        answer=access.PolicyWhoCanReply,
        summary="The principals that may do an operation.",
    ),
    QueryKind(
        kind="policy_diff",
        answered_by="policy",
        message=access.PolicyDiffQuery,
        answer=access.PolicyDiffReply,
        summary="The changes by another policy.",
    ),
)
