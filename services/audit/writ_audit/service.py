"""The parts of the audit service, put together; its health checks and metrics."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import get_args

from writ_audit.config import Config
from writ_audit.following import Follower
from writ_audit.handlers import service
from writ_audit.index import Index
from writ_audit.permission import Permission
from writ_audit.projection import UNREADABLE
from writ_audit.reading import Reading
from writ_bus.errors import BusError
from writ_bus.port import Bus, Serving
from writ_contracts.journal import JournalEvent
from writ_runtime.health import Check
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer

MOST_BEHIND = 1_000
"""Events that the index may be behind the journal before the service calls itself not ready."""


def metrics() -> Metrics:
    """With the endpoints that this service has."""
    return Metrics(endpoints=("trace", "search"))


class Audit:
    """One replica: follows the journal, answers queries."""

    def __init__(self, config: Config, bus: Bus, measured: Metrics) -> None:
        self._bus = bus
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._index = Index(config.state_dir / "audit.sqlite")
        if self._index.rebuilt:
            Log("writ.audit").warning("index.rebuilt", reason=self._index.rebuilt)
        events = measured.counter("writ_audit_events_total", "Events indexed, by kind.", {"kind": event_kinds()})
        self._follower = Follower(bus.journal, self._index, lambda kind: events.add(kind=kind))
        measured.measure("writ_audit_lag_events", "Events of the journal not indexed yet.", lambda: self._follower.lag)
        measured.measure("writ_audit_position", "Last sequence indexed.", lambda: self._follower.position)
        reading = Reading(bus.journal, self._index, self._follower, Permission(bus, config.policy_key))
        self._service = service(version("writ-audit"), reading, Observer(Log("writ.audit"), measured))
        self._serving: Serving | None = None

    async def serve(self) -> None:
        """Answer queries from now on."""
        self._serving = await self._bus.serve(self._service)

    async def follow(self) -> None:
        """Keep the index in step, for ever."""
        await self._follower.run()

    async def stop(self) -> None:
        """Take no new queries; answer those that came."""
        if self._serving is not None:
            await self._serving.close()

    def close(self) -> None:
        """Close the index, when nothing uses it any more."""
        self._index.close()

    def checks(self) -> Mapping[str, Check]:
        """What `/readyz` looks at."""
        return {"journal": self._journal_check, "index": self._index_check}

    async def _journal_check(self) -> str | None:
        if not self._bus.connected:
            return "not connected to NATS"
        try:
            await self._bus.journal.usage()
        except BusError as error:
            return f"the journal does not answer ({error.code})"
        return None

    async def _index_check(self) -> str | None:
        lag = self._follower.lag
        return f"{lag} events behind the journal" if lag > MOST_BEHIND else None


def event_kinds() -> tuple[str, ...]:
    """Every kind of event that the metrics tell apart."""
    return (*sorted(str(kind.__struct_config__.tag) for kind in get_args(JournalEvent)), UNREADABLE)
