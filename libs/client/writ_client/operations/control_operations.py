"""The control operations of `Writ` by name: cancels, stops, policy versions and emergencies."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from writ_client.operations.runs_operations import RunsOperations
from writ_client.operations.time_left import TimeLeft
from writ_client.people.approvals import Signer
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.policy.versions import sent_form
from writ_contracts.requests import OperationView

CONTROL_SECONDS = 60.0
POLICY_SECONDS = 90.0
"""For a change of the policy: more than one attempt at it (`submission.CHECK_SECONDS`)."""
PROVEN_SECONDS = CONTROL_SECONDS + 120.0
"""For a control operation that a person proves presence for, with the time to find a security key."""


class ControlRunner(RunsOperations, Protocol):
    """A client which also runs an operation to its end."""

    async def run(
        self,
        operation: str,
        target: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        reason: str = "",
        by: Signer | None = None,
    ) -> OperationView:
        """Send one request and wait for its end, as `Writ.run` does."""


class ControlMethods:
    """A mixin for a client which runs operations."""

    async def cancel(
        self: ControlRunner, operation_id: str, *, reason: str = "", timeout: float = CONTROL_SECONDS
    ) -> OperationView:
        """Cancel an operation; return the view of the `operation_cancel`: `unknown` (`not_confirmed`) without evidence
        of its end.
        """
        arguments = {"operation_id": operation_id}
        return await self.run("operation_cancel", WRIT_TARGET, arguments, reason=reason, timeout=timeout)

    async def stop_set(
        self: ControlRunner,
        scope: list[str],
        *,
        reason: str,
        until: float | None = None,
        roles: Sequence[str] = (),
        principals: Sequence[str] = (),
        operations: Sequence[str] = (),
        timeout: float = CONTROL_SECONDS,
    ) -> OperationView:
        """Let no change start on these targets (globs), until `until` (Unix seconds) or a `stop_lift`.

        Roles of targets, principals and operations narrow it. `running` in the output has the operations within its
        reach started before: they go on unless cancelled.
        """
        narrowed = {"roles": roles, "principals": principals, "operations": operations}
        arguments: dict[str, Any] = {"scope": scope, "reason": reason, **({} if until is None else {"until": until})}
        arguments |= {name: list(values) for name, values in narrowed.items() if values}
        return await self.run("stop_set", WRIT_TARGET, arguments, reason=reason, timeout=timeout)

    async def stop_lift(
        self: ControlRunner, stop_id: str, *, reason: str = "", timeout: float = CONTROL_SECONDS
    ) -> OperationView:
        """End a stop: `stop_id` is the `id` in the output of its `stop_set`."""
        return await self.run("stop_lift", WRIT_TARGET, {"stop_id": stop_id}, reason=reason, timeout=timeout)

    async def policy_publish(
        self: ControlRunner,
        document: str,
        *,
        reason: str,
        replaces: int | None = None,
        timeout: float = POLICY_SECONDS,
    ) -> OperationView:
        """Put a policy in force; `replaces`: only if this version is still in force. `version` in the output is its
        number. Raises Invalid: `conflict`, and `invalid_document` with all `problems` of a document.
        """
        arguments = {"document": sent_form(document), "reason": reason} | (
            {} if replaces is None else {"replaces": replaces}
        )
        return await _change_policy(self, "policy_publish", arguments, timeout)

    async def policy_rollback(
        self: ControlRunner, version: int, *, reason: str, timeout: float = POLICY_SECONDS
    ) -> OperationView:
        """Put an earlier version in force again, as a new one. Raises as `policy_publish`."""
        return await _change_policy(self, "policy_rollback", {"version": version, "reason": reason}, timeout)

    async def emergency_declare(
        self: ControlRunner,
        scope: list[str],
        *,
        reason: str,
        until: float,
        by: Signer | None = None,
        timeout: float = PROVEN_SECONDS,
    ) -> OperationView:
        """Apply the emergency rules on these targets (globs) until `until` (Unix seconds). `by` proves presence."""
        arguments = {"scope": scope, "reason": reason, "until": until}
        return await self.run("emergency_declare", WRIT_TARGET, arguments, reason=reason, by=by, timeout=timeout)

    async def emergency_confirm(
        self: ControlRunner,
        emergency_id: str,
        *,
        reason: str = "",
        by: Signer | None = None,
        timeout: float = PROVEN_SECONDS,
    ) -> OperationView:
        """Confirm an emergency declared by another person, before it lapses. `by` as for its declaration."""
        arguments = {"emergency_id": emergency_id}
        return await self.run("emergency_confirm", WRIT_TARGET, arguments, reason=reason, by=by, timeout=timeout)

    async def emergency_review(
        self: ControlRunner, emergency_id: str, *, reason: str, timeout: float = CONTROL_SECONDS
    ) -> OperationView:
        """Sign off an emergency after its end. Until then the person who declared it declares no other."""
        parameters = {"emergency_id": emergency_id, "reason": reason}
        return await self.run("emergency_review", WRIT_TARGET, parameters, reason=reason, timeout=timeout)

    async def emergency_end(
        self: ControlRunner, emergency_id: str, *, reason: str = "", timeout: float = CONTROL_SECONDS
    ) -> OperationView:
        """End an emergency: `emergency_id` is the `id` in the output of its declaration."""
        arguments = {"emergency_id": emergency_id, "verdict": "end"}
        return await self.run("emergency_confirm", WRIT_TARGET, arguments, reason=reason, timeout=timeout)


async def _change_policy(
    writ: RunsOperations, operation: str, arguments: Mapping[str, Any], timeout: float
) -> OperationView:
    """Change the policy, and return the operation with its outcome. `arguments` has the reason, too.

    Raises Invalid with all problems of a document: they are in the reply alone, and are not recorded.
    """
    within = TimeLeft(timeout)
    answer = await writ.submit(operation, WRIT_TARGET, arguments, reason=str(arguments["reason"]), timeout=timeout)
    if answer.outcome == "invalid" and answer.error is not None:
        found = [(one.line, one.column, one.message) for one in answer.error.problems]
        raise Invalid(answer.error.message, code=answer.error.code, problems=found)
    return await writ.wait(answer.operation_id or "", timeout=within)
