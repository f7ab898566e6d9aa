"""An audit service under test: its parts over any bus, a scripted policy, and questions as a principal sends them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from tests.audit.history import POLICY

from writ_audit.config import AuditConfig
from writ_audit.metrics import metrics
from writ_audit.service import Audit
from writ_bus.port import Bus
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.history.audit import SearchQuery, SearchReply, TraceQuery, TraceReply
from writ_contracts.operations import Catalogue
from writ_contracts.subjects import query
from writ_contracts.wire import decode, encode
from writ_runtime.metrics import Metrics
from writ_testing.fakes.scripted_policy import ScriptedPolicy

Reply = TypeVar("Reply", bound=Struct)


def policy(effect: str = "deny") -> ScriptedPolicy:
    """Run a policy with this decision on `audit_read`."""
    scripted = ScriptedPolicy(Catalogue(BUILT_IN), {})
    scripted.effects["audit_read"] = effect  # type: ignore[assignment]
    return scripted


@asynccontextmanager
async def replica(
    bus: Bus, state_dir: Path, policy_key: str = "", measured: Metrics | None = None, **changed: Any
) -> AsyncIterator[Audit]:
    paths = {"key_file": Path("x"), "state_dir": state_dir}
    keys = ",".join(key for key in (policy_key, POLICY.public) if key)
    config = AuditConfig(nats_url="nats://127.0.0.1", installation="", policy_key=keys, **{**paths, **changed})
    audit = Audit(config, bus, measured or metrics())
    await audit.serve()
    following = asyncio.create_task(audit.follow())
    try:
        yield audit
    finally:
        await audit.stop()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        audit.close()


async def trace(bus: Bus, reader: str, /, **fields: Any) -> TraceReply:
    """Return this principal's reply to a trace query."""
    return await ask(bus, reader, "trace", encode(TraceQuery(**fields)), TraceReply)


async def search(bus: Bus, reader: str, /, **fields: Any) -> SearchReply:
    """Return this principal's reply to a search."""
    return await ask(bus, reader, "search", encode(SearchQuery(**fields)), SearchReply)


async def ask(bus: Bus, principal: str, kind: str, data: bytes, answer: type[Reply]) -> Reply:
    """Return the reply to these bytes from a principal."""
    message = await bus.request(query(principal, kind), data, timeout=30)
    return decode(message.data, answer)


def kinds(answer: TraceReply) -> list[str]:
    """The kinds of the events, in order."""
    assert answer.error is None, msgspec.to_builtins(answer.error)
    return [event.kind for event in answer.events]
