"""The principals that come through this gateway, by the files from which the provisioner makes the users of NATS.

Nothing is sent for a principal without access. NATS would refuse it, in a record that accuses the key of the gateway.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from writ_bus.port import Bus, Handler, Message, Subscription
from writ_contracts.errors import Denied, Untrusted
from writ_contracts.installation.gateway_tokens import GatewayToken
from writ_contracts.inventory import Principal
from writ_contracts.people.principal_changes import is_active, principals_in_force
from writ_documents.principal_changes import read_principal_changes
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.list_reader.lists import PRINCIPALS, ListReader

SETTLE_SECONDS = 2.0
"""From a change of the files that gives access until something is sent: NATS reads the files by way of the provisioner,
which looks at them every half second.
"""


class ServedPrincipals:
    """The principals in force, as far as the files were read; `refresh` reads changed ones."""

    def __init__(self, gateway: str, principals: Path, changes: Path) -> None:
        """Raises ConfigError for files that cannot be read. Later their last good content stays in force."""
        self._gateway = gateway
        self._listed = WatchedFile(principals, ListReader(PRINCIPALS))
        self._changes = WatchedFile(changes, read_principal_changes)
        self._in_force: Mapping[str, Principal] = {}
        self._since: dict[str, float] = {}
        """When principals got access, if that was after the start of this process."""
        self._compose()
        self._since.clear()

    @property
    def problem(self) -> str | None:
        """Return the error of reading a file."""
        return self._listed.problem or self._changes.problem

    async def refresh(self) -> None:
        """Read the files that have changed."""
        listed, changes = await self._listed.refresh(), await self._changes.refresh()
        if listed or changes:
            self._compose()

    def _compose(self) -> None:
        changes = (one.change for one in self._changes.value.changes)
        before, self._in_force = self._in_force, principals_in_force(self._listed.value.principals, changes)
        gained = self._served(self._in_force) - self._served(before)
        self._since.update(dict.fromkeys(gained, time.monotonic()))

    def _served(self, principals: Mapping[str, Principal]) -> set[str]:
        return {name for name, one in principals.items() if one.via == self._gateway and is_active(one, principals)}

    async def admit(self, principal: str) -> None:
        """Return once something may be sent for the principal. Raises as `check`."""
        await self.refresh()
        self.check(principal)
        left = self._since.get(principal, 0.0) + SETTLE_SECONDS - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
            await self.refresh()
            self.check(principal)

    def holds(self, token: GatewayToken) -> bool:
        """Return whether the token's principal is the one for which it was made."""
        return token.counts_for(self._in_force.get(token.principal))

    def check(self, principal: str) -> None:
        """Raise Untrusted (`unknown_principal`) or Denied (`principal_disabled`) where NATS would refuse its requests.

        The gateway itself is not looked at: NATS ends its connection.
        """
        entry = self._in_force.get(principal)
        if entry is None or entry.via != self._gateway:
            raise Untrusted(f"no principal {principal!r} comes through this gateway", code="unknown_principal")
        if not is_active(entry, self._in_force):
            disabled = principal if entry.disabled else entry.acts_for
            raise Denied(f"principal {disabled} is disabled", code="principal_disabled")


class ServedBus:
    """The gateway's bus for one principal. Its methods raise as `ServedPrincipals.check`, before they send anything."""

    def __init__(self, bus: Bus, served: ServedPrincipals, principal: str) -> None:
        self._bus, self._served, self._principal = bus, served, principal

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        await self._served.admit(self._principal)
        return await self._bus.request(subject, data, timeout=timeout, headers=headers)

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> Subscription:
        await self._served.admit(self._principal)
        return await self._bus.subscribe(subject, handler, queue=queue, concurrency=concurrency)

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)


def bus_for(principal: str, bus: Bus, served: ServedPrincipals) -> Bus:
    """Return the bus by which the gateway sends for this principal."""
    return cast("Bus", ServedBus(bus, served, principal))
