"""The session of one caller: client, catalogue and permissions for its tools."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from writ_client.operations.operation_wait import OnEvent
from writ_client.tools.capability_tools import CapabilityTools
from writ_client.tools.policy_management_tools import PolicyManagementTools
from writ_contracts.errors import TimedOut, WritError
from writ_contracts.operations import Catalogue, Operation
from writ_gateway.caller import Caller
from writ_gateway.client import WINDOW_REQUEST, AgentClient
from writ_gateway.permissions import Permissions
from writ_gateway.refusals import Refusals

LAST_SECONDS = 2.0
"""For the last query of a call, within the grace of the gateway's end."""


class PrincipalSession:
    """One principal's connection, as tools use it."""

    def __init__(self, writ: AgentClient, catalogue: Catalogue, permissions: Permissions | None = None) -> None:
        self.writ = writ
        self.catalogue = catalogue
        self.operations = CapabilityTools(writ, catalogue)
        self.policy = PolicyManagementTools(writ)
        self._permissions = permissions or Permissions(writ)

    def called_by(self, caller: Caller) -> "PrincipalSession":
        """Return the session for one request of this caller, with the same connection and permissions."""
        return PrincipalSession(self.writ.called_by(caller), self.catalogue, self._permissions)

    async def permitted(self) -> list[Operation]:
        """Return the operations on targets permitted to the caller and to its token, sorted by name."""
        known = await self._permissions.operations(self.writ.target_globs)
        may = {name for name in known if self.writ.may_request(name)}
        return sorted(
            (one for one in self.catalogue.values() if one.name in may and not one.control), key=lambda one: one.name
        )

    async def reads_policy(self) -> bool:
        """Return whether the caller may read the policy in force."""
        return await self._permissions.reads_policy()

    async def listed(self) -> list[Operation]:
        """Return the operations by which tools are listed: the permitted ones, and `window_request` if permitted."""
        permitted = await self.permitted()
        if self.writ.may_sign and WINDOW_REQUEST in await self._permissions.operations():
            permitted.append(self.catalogue.find(WINDOW_REQUEST))
        return permitted


class OpenWaits:
    """The waits of calls, which the end of the gateway cuts short: their clients get an answer before it."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        self._ended = False

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Raise TimeoutError within the block once the waits are cut short."""
        async with asyncio.timeout(0 if self._ended else None) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def cut_short(self) -> None:
        """End the present waits and all later ones."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)


class ToolCall:
    """One call of a tool: its session, and where its progress goes."""

    def __init__(
        self,
        session: PrincipalSession,
        on_event: OnEvent,
        *,
        longest_wait: float | None = None,
        waits: OpenWaits | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """`longest_wait`: seconds of any wait; an operation unfinished by then is returned as it is."""
        self.session = session
        self.on_event = on_event
        self.longest_wait = longest_wait
        self.waits = waits or OpenWaits()
        self.refusals = refusals or Refusals()

    async def last_state(self, operation_id: str, why: str) -> dict[str, Any]:
        """Return an operation whose wait was cut short. Raises TimedOut (`why`) without a reply or a record of it."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                return await self.session.operations.get_operation_status(operation_id)
        except (TimeoutError, WritError):
            raise TimedOut(why) from None
