"""What a principal may ask without anything being done: `writ.query.<principal>.<kind>`, and who answers."""

from typing import Any, Literal

from msgspec import Struct

from writ_contracts import approvals, audit, backends, policies, policy_access, policy_questions, requests


class Question(Struct, frozen=True, kw_only=True):
    """One kind of question, with the structs of both ways."""

    kind: str
    answered_by: Literal["executor", "policy", "audit"]
    message: Any
    answer: Any
    summary: str


QUESTIONS = (
    Question(
        kind="operation",
        answered_by="executor",
        message=requests.OperationQuery,
        answer=requests.OperationAnswer,
        summary="How does one operation stand?",
    ),
    Question(
        kind="operations",
        answered_by="executor",
        message=requests.OpenQuery,
        answer=requests.OperationsAnswer,
        summary="Which of my operations have not ended?",
    ),
    Question(
        kind="result",
        answered_by="executor",
        message=requests.OperationQuery,
        answer=requests.ResultAnswer,
        summary="The full output of one of my operations.",
    ),
    Question(
        kind="simulate",
        answered_by="executor",
        message=requests.SimulateQuery,
        answer=requests.SimulateAnswer,
        summary="What would be decided? Nothing is recorded or done.",
    ),
    Question(
        kind="targets",
        answered_by="executor",
        message=requests.TargetsQuery,
        answer=requests.TargetsAnswer,
        summary="Which targets are there?",
    ),
    Question(
        kind="backend_test",
        answered_by="executor",
        message=backends.BackendTestQuery,
        answer=backends.BackendTestAnswer,
        summary="How do a target's own agents find it when they go there?",
    ),
    Question(
        kind="journal",
        answered_by="executor",
        message=audit.JournalQuery,
        answer=audit.JournalAnswer,
        summary="How full is the journal, and what of it can be archived?",
    ),
    Question(
        kind="trace",
        answered_by="audit",
        message=audit.TraceQuery,
        answer=audit.TraceAnswer,
        summary="All events of an operation or a correlation id.",
    ),
    Question(
        kind="search",
        answered_by="audit",
        message=audit.SearchQuery,
        answer=audit.SearchAnswer,
        summary="Operations by principal, target, operation, outcome and time.",
    ),
    Question(
        kind="approvals",
        answered_by="policy",
        message=approvals.ApprovalsQuery,
        answer=approvals.ApprovalsAnswer,
        summary="Which operations wait for an approval that I could give?",
    ),
    Question(
        kind="approval",
        answered_by="policy",
        message=approvals.ApprovalQuery,
        answer=approvals.ApprovalCardAnswer,
        summary="One operation with all that its approver must verify.",
    ),
    Question(
        kind="policy_history",
        answered_by="policy",
        message=policies.PolicyHistoryQuery,
        answer=policies.PolicyHistoryAnswer,
        summary="Which versions of the policy are there?",
    ),
    Question(
        kind="policy_show",
        answered_by="policy",
        message=policies.PolicyShowQuery,
        answer=policies.PolicyShowAnswer,
        summary="One version of the policy, with its document.",
    ),
    Question(
        kind="policy_status",
        answered_by="policy",
        message=policies.PolicyStatusQuery,
        answer=policies.PolicyStatusAnswer,
        summary="Which policy is in force, and what is wrong with its files?",
    ),
    Question(
        kind="policy_can_i",
        answered_by="policy",
        message=policy_questions.PolicyCanIQuery,
        answer=policy_questions.PolicyCanIAnswer,
        summary="May I do this?",
    ),
    Question(
        kind="policy_explain",
        answered_by="policy",
        message=policy_questions.PolicyExplainQuery,
        answer=policy_questions.PolicyExplainAnswer,
        summary="Why would it be decided so?",
    ),
    Question(
        kind="policy_eval",
        answered_by="policy",
        message=policy_questions.PolicyEvalQuery,
        answer=policy_questions.PolicyEvalAnswer,
        summary="What would be decided of these requests of anybody?",
    ),
    Question(
        kind="policy_validate",
        answered_by="policy",
        message=policy_questions.PolicyValidateQuery,
        answer=policy_questions.PolicyValidateAnswer,
        summary="Could this document be published, and what is wrong with it?",
    ),
    Question(
        kind="policy_test",
        answered_by="policy",
        message=policy_questions.PolicyTestQuery,
        answer=policy_questions.PolicyTestAnswer,
        summary="Is everything decided as this suite of cases says?",
    ),
    Question(
        kind="policy_allowed",
        answered_by="policy",
        message=policy_access.PolicyAllowedQuery,
        answer=policy_access.PolicyAllowedAnswer,
        summary="What is allowed to whom?",
    ),
    Question(
        kind="policy_who_can",
        answered_by="policy",
        message=policy_access.PolicyWhoCanQuery,
        answer=policy_access.PolicyWhoCanAnswer,
        summary="Who may do this?",
    ),
    Question(
        kind="policy_diff",
        answered_by="policy",
        message=policy_access.PolicyDiffQuery,
        answer=policy_access.PolicyDiffAnswer,
        summary="What would another policy change?",
    ),
)
