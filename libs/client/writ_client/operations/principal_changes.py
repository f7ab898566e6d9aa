"""Changes of principals by the operation `principal_manage`."""

from collections.abc import Mapping, Sequence
from typing import Any

from writ_client.operations.operation_wait import RecordedRequest
from writ_client.operations.runs_operations import RunsOperations
from writ_contracts.ids import WRIT_TARGET

CHANGED_WITHIN = 60.0


class PrincipalChanges:
    """`writ.principals`: each method returns once the operation has ended, or waits for approval.

    Its outcome is `unknown` (`not_confirmed`) while policy follows a change, and NATS is not confirmed to follow it.
    """

    def __init__(self, writ: RunsOperations) -> None:
        self._writ = writ

    async def add(
        self,
        name: str,
        kind: str,
        key: str,
        *,
        roles: Sequence[str] = (),
        acts_for: str | None = None,
        person: str | None = None,
        reason: str = "",
    ) -> RecordedRequest:
        """Add a principal; `key` is its public key (U…)."""
        more = {"acts_for": acts_for, "person": person}
        parameters = {name: value for name, value in more.items() if value is not None}
        return await self.change(
            "add", name, {"kind": kind, "key": key, "roles": list(roles), **parameters}, reason=reason
        )

    async def remove(self, name: str, *, reason: str = "") -> RecordedRequest:
        """Remove the principal: it loses access, and its key never returns."""
        return await self.change("remove", name, reason=reason)

    async def disable(self, name: str, *, reason: str = "") -> RecordedRequest:
        """Take access from the principal and the agents acting for it, until it is enabled."""
        return await self.change("disable", name, reason=reason)

    async def enable(self, name: str, *, reason: str = "") -> RecordedRequest:
        """Give a disabled principal its access back."""
        return await self.change("enable", name, reason=reason)

    async def rotate(self, name: str, key: str, *, reason: str = "") -> RecordedRequest:
        """Replace the principal's key by this public key."""
        return await self.change("rotate", name, {"key": key}, reason=reason)

    async def set_roles(self, name: str, roles: Sequence[str], *, reason: str = "") -> RecordedRequest:
        """Set all roles of the principal."""
        return await self.change("set_roles", name, {"roles": list(roles)}, reason=reason)

    async def set_acts_for(self, name: str, human: str | None, *, reason: str = "") -> RecordedRequest:
        """Set the human that an agent or service acts for; None: nobody."""
        return await self.change("set_acts_for", name, {} if human is None else {"acts_for": human}, reason=reason)

    async def change(
        self, action: str, name: str, values: Mapping[str, Any] | None = None, *, reason: str = ""
    ) -> RecordedRequest:
        """Request the operation, and return after at most a minute."""
        parameters = {"action": action, "principal_id": name, **(values or {})}
        return await self._writ.request("principal_manage", WRIT_TARGET, parameters, reason=reason, wait=CHANGED_WITHIN)
