"""An installation with two pools whose keys a test steals, and the messages of a thief of the executors' key."""

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import structs

from writ_bus.port import Bus
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.decisions import DecideReply, DecideRequest, Subject
from writ_contracts.ids import operation_id
from writ_contracts.journal import Granted
from writ_contracts.wire import decode, decode_event, encode
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

CATALOGUE = load_catalogue()
CONTROLS = {"name": "all_control", "operations": [o.name for o in CATALOGUE.values() if o.control], "allowed": True}
KEY = secrets.token_hex(32)
ENVIRON = {"WRIT_HEARTBEAT": "0.3", "WRIT_LEASE": "2"}


@asynccontextmanager
async def robbed(folder: Path, *rules: Mapping[str, Any]) -> AsyncIterator[RunningInstallation]:
    """Yield `web-1` in pool a and `db-1` in pool b; alice and bob may do everything that no rule denies."""
    targets = [local_target(name, folder / "files", agent=pool) for name, pool in (("web-1", "a"), ("db-1", "b"))]
    people: list[tuple[str, dict[str, Any]]] = [("alice", {}), ("bob", {})]
    home = prepare(folder, targets=targets, policy=open_policy(CONTROLS, *rules), principals=people)
    async with running_installation(folder, home=home, environ=ENVIRON) as running:
        yield running


@asynccontextmanager
async def holding(installation: RunningInstallation, key: str) -> AsyncIterator[Bus]:
    """Yield a bus with this key of the installation."""
    name = key.removeprefix("principal-")
    bus = await open_bus(Context(principal=name, url=installation.url), installation.home.key(key).seed, wait=10)
    try:
        yield bus
    finally:
        await bus.close()


def subject(
    installation: RunningInstallation, operation: str, target: str, parameters: dict[str, Any], **changed: Any
) -> Subject:
    """Return a request of alice, who never made it, as a true executor would present it to policy."""
    number = secrets.token_hex(8)
    about = Subject(
        operation_id=operation_id("alice", number),
        principal="alice",
        key=installation.home.key("principal-alice").public,
        operation=operation,
        target=target,
        parameters=parameters,
        parameters_key=KEY,
        idempotency_key=number,
    )
    return structs.replace(about, **changed)


async def decided(bus: Bus, about: Subject, **check: Any) -> DecideReply:
    message = await bus.request(
        subjects.POLICY_DECIDE, encode(DecideRequest(subject=about, control_sequence=0, **check)), timeout=10
    )
    return decode(message.data, DecideReply)


def parameters_by_operation() -> dict[str, dict[str, Any]]:
    """Return valid parameters of some operations. The end of the emergency counts from this call: tests may run an hour
    after this file was imported.
    """
    return {
        "file_delete": {"file_path": "/x"},
        "stop_set": {"reason": "none"},
        "operation_cancel": {"operation_id": "a" * 26},
        "policy_publish": {"document": "x", "reason": "none"},
        "policy_rollback": {"version": 1, "reason": "none"},
        "emergency_declare": {"scope": ["*"], "reason": "none", "until": time.time() + 3_000},
        "journal_archive": {
            "generation": 1,
            "first": 1,
            "last": 2,
            "events": 2,
            "digest": "0" * 64,
            "control": "0" * 64,
            "reason": "none",
        },
        "principal_manage": {"action": "remove", "principal_id": "bob"},
        "approval_decide": {"operation_id": "a" * 26, "decision_digest": "0" * 64, "verdict": "approve"},
    }


async def started(bus: Bus, principal: str, number: str) -> str:
    """Return the running instance."""

    async def check() -> str | None:
        for record in await bus.journal.read(subjects.operation_filter(principal, number)):
            event = decode_event(record.data)
            if isinstance(event, Granted):
                return event.instance
        return None

    return await eventually(check)
