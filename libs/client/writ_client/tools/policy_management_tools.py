"""`PolicyManagementTools`: read the policy, try documents and scenarios, and publish: names of the specification.

Questions about others than oneself need `audit_read`; to publish and roll back needs the right to, and one's own key.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from writ_client.client import Writ
from writ_client.tools import results
from writ_client.tools.requesters import principal_of
from writ_client.tools.results import Result
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import Role
from writ_contracts.policy.access import PolicyAccess

MOST_OF_ROLE = 100
MOST_UNAVAILABLE = 1000
Document = str | Mapping[str, Any]


class PolicyManagementTools:
    """The policy as one connected principal may see and change it. Raises the errors of `writ_contracts.errors`."""

    def __init__(self, writ: Writ, *, mail_addresses: Mapping[str, str] | None = None) -> None:
        self._writ = writ
        self._addresses = mail_addresses or {}

    async def get_policy_status(self) -> Result:
        """Return the policy in force: `status` is `ok`, or `problems` where a file or version of it cannot be used."""
        found = await self._writ.policy_status()
        shown = msgspec.to_builtins(found)
        del shown["last"]  # the cursor: all pages were read
        return {"status": "problems" if found.problems else "ok", **shown}

    async def list_allowed_operations(
        self, target_role: Role | None = None, user_id: str | None = None, target_id: str | None = None
    ) -> Result:
        """Return the operations allowed to a principal (by default the caller), on targets of a role, or on one target.

        `allowed_operations` are those allowed with some parameters at some time, without those that no agent can carry
        out there; `access` has the conditions. `unavailable` are those that would fail, since the host lacked something
        in its last test. A role that no target has yet is answered by the rules alone.
        """
        principal = principal_of(user_id or self._writ.principal, self._addresses)
        answer = await self._writ.policy.allowed(role=target_role, target=target_id, principal=principal)
        may = [one for one in answer.accesses if one.allowed != "never" and not one.emergency]
        known = await self._writ.targets()
        lacking = {(target.id, name): one for target in known for name, one in target.lacking.items()}
        unavailable = [(at, one.operation) for one in may for at in one.targets if (at, one.operation) in lacking]
        if target_role is None or any(target.role == target_role for target in known):
            offered = {(target.id, name) for target in known for name in target.operations} - lacking.keys()
            may = [one for one in may if any(at == WRIT_TARGET or (at, one.operation) in offered for at in one.targets)]
            may = [
                structs.replace(one, targets=[at for at in one.targets if (at, one.operation) not in lacking])
                for one in may
            ]
        return {
            "allowed_operations": sorted({one.operation for one in may}),
            "needs_approval": sorted({one.operation for one in may if one.approval == "always"}),
            "user_id": principal,
            "target_role": target_role,
            "access": [_access(one) for one in may],
            "unavailable": [
                {"operation_type": name, "target_id": at, **msgspec.to_builtins(lacking[at, name])}
                for at, name in sorted(set(unavailable))[:MOST_UNAVAILABLE]
            ],
        }

    async def validate_policy_config(self, config_data: Document) -> Result:
        """Check a document before publication: `valid`, `errors` and `warnings`, each with its line."""
        found = await self._writ.policy.validate(_text(config_data))
        problems = [(one.severity, f"line {one.line}: {one.message}") for one in found.problems]
        return {
            "valid": found.valid,
            "errors": [
                text for severity, text in problems if severity == "error" or not (found.valid or severity != "lint")
            ],
            "warnings": [
                text for severity, text in problems if severity == "warning" or (found.valid and severity == "lint")
            ],
            "name": found.name,
            "rules": found.rules,
        }

    async def get_policy_history(self, limit: int = 20, before: int | None = None) -> Result:
        """Return the versions of the policy, newest first; `more`: there are older ones."""
        found = await self._writ.policy_history(limit=limit, before=before)
        return {"versions": msgspec.to_builtins(found.versions), "more": found.more}

    async def simulate_policy_scenario(
        self,
        operation_type: str,
        target_ids: Sequence[str] = (),
        requested_by: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        at: Sequence[float] = (),
        *,
        target_role: Role | None = None,
        user_id: str | None = None,
        emergency: bool = False,
    ) -> Result:
        """Return the decision on one operation for each principal, target and instant (Unix seconds).

        The targets are those of `target_ids` and those of a role, of which the first MOST_OF_ROLE count; then `more`.
        """
        targets, more = await self._targets(target_ids, target_role)
        named = (*requested_by, user_id) if user_id else requested_by
        principals = [principal_of(name, self._addresses) for name in named]
        found = await self._writ.policy.matrix(
            operation_type, parameters, targets=targets, principals=principals, at=at, emergency=emergency
        )
        lines = [results.evaluation_result(request, result) for request, result in found]
        decisions = [line["policy_evaluation"]["decision"] for line in lines]
        summary = {name: decisions.count(name) for name in sorted(set(decisions))}
        return {"results": lines, "summary": summary, "more": more}

    async def _targets(self, named: Sequence[str], role: Role | None) -> tuple[list[str], bool]:
        """Return the targets of a scenario, and whether the role has more. Raises Invalid where there is none."""
        of_role = [target.id for target in await self._writ.targets() if target.role == role] if role else []
        targets = list(dict.fromkeys((*named, *of_role[:MOST_OF_ROLE])))
        if not targets:
            text = f"target_role: no target has the role {role}" if role else "target_ids: give them, or target_role"
            raise Invalid(text, code="invalid_parameters")
        return targets, len(of_role) > MOST_OF_ROLE

    async def update_policy_config(self, config_data: Document, reason: str, *, replaces: int | None = None) -> Result:
        """Put a document in force; `version` is its number. Raises Invalid with all `problems` of a wrong one."""
        view = await self._writ.policy_publish(_text(config_data), reason=reason, replaces=replaces)
        return results.operation_result(view) | {"version": view.output.get("version")}

    async def rollback_policy(self, version: int, reason: str) -> Result:
        """Put an earlier version in force again, as a new one."""
        view = await self._writ.policy_rollback(version, reason=reason)
        return results.operation_result(view) | {"version": view.output.get("version")}


def _text(document: Document) -> str:
    """JSON is YAML, so a mapping needs no YAML library."""
    return document if isinstance(document, str) else json.dumps(document, indent=2)


def _access(one: PolicyAccess) -> Result:
    conditions = [text for grant in one.grants for text in (*grant.parameters, grant.windows, *grant.other) if text]
    return {
        "operation_type": one.operation,
        "targets": one.targets,
        "target_role": one.role,
        "allowed": one.allowed,
        "approval": one.approval,
        "rules": sorted({grant.rule for grant in one.grants}),
        "conditions": list(dict.fromkeys(conditions)),
    }
