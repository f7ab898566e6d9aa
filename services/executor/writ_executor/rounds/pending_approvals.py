"""Operations that wait for approval: their previews, the reminders to approvers, and the end of the wait."""

from collections.abc import Iterable

from writ_contracts.journal import AwaitingApproval
from writ_contracts.life import AcceptedLife
from writ_contracts.people.approvals import demand_text
from writ_executor.steps.approvals import ApprovalSteps
from writ_executor.steps.background import BackgroundTasks
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_executor.steps.overdue import WaitingAge, period_of
from writ_executor.steps.parameter_retention import ParameterRetention
from writ_executor.steps.pending_previews import PendingPreviews
from writ_executor.steps.reminders import Reminders


class ApprovalWaits:
    """Takes the steps that are due while people decide."""

    def __init__(
        self,
        previews: PendingPreviews,
        approvals: ApprovalSteps,
        kept: ParameterRetention,
        outcomes: OutcomeRecorder,
        background: BackgroundTasks,
    ) -> None:
        self._previews = previews
        self._approvals = approvals
        self._kept = kept
        self._outcomes = outcomes
        self._background = background
        self._reminders = Reminders()

    def check(self, life: AcceptedLife, waiting: AwaitingApproval, age: WaitingAge) -> None:
        """Begin a preview or a reminder, if one is due."""
        if self._previews.is_due(life):
            self._background.spawn("preview", self._previews.take(life))
        if self._reminders.due(waiting.operation_id, age.observed + age.before, period_of(life)):
            self._background.spawn("reminder", self._approvals.remind(waiting))

    async def expire(self, life: AcceptedLife, waiting: AwaitingApproval, age: WaitingAge) -> None:
        """End the wait, unless stops have made the time to decide longer."""
        if age.observed + age.before <= period_of(life) + await self._approvals.frozen_seconds(life):
            await self._kept.renew(life)
        else:
            await self._outcomes.not_started(life, "expired", "not_approved", _unapproved(life, waiting))

    def forget_others(self, operation_ids: Iterable[str]) -> None:
        """Forget all other operations."""
        self._reminders.forget_others(operation_ids)


def _unapproved(life: AcceptedLife, waiting: AwaitingApproval) -> str:
    text = f"; {len(life.approvals)} approved it" if life.approvals else ""
    return f"it was not approved in time: {'; '.join(map(demand_text, waiting.demands))}{text}"
