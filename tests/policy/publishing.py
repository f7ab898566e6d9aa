"""An executor's access to the store of versions, for correct and incorrect publications."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import structs
from tests.policy.replica import KEY, RULES, SALT, Asking, Files, files, replica

from writ_bus.port import Bus, Entry
from writ_contracts import subjects
from writ_contracts.decisions import DecideReply
from writ_contracts.policy.versions import StoredPolicy, document_in, packed, packed_bytes
from writ_contracts.wire import decode, encode
from writ_documents import yaml_file
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import plain_digest

GOVERNING = ["policy_publish", "policy_rollback", "stop_lift", "journal_archive"]
PUBLISHES = {"name": "publishes", "operations": GOVERNING, "allowed": True}
EMERGENCIES = {"name": "emergencies", "operations": ["emergency_declare", "emergency_confirm"], "allowed": True}


def document(*rules: dict[str, Any], **keys: Any) -> str:
    """Return a policy that permits its own change, with these further rules."""
    policy = {"name": "published", "require_approval_for_admin": False, "global_policies": [PUBLISHES, *rules], **keys}
    return yaml_file.dump({"policies": policy})


OPEN, CLOSED = document(*RULES), document({**RULES[0], "allowed": False})


@asynccontextmanager
async def publishable(folder: Path, **changed: Any) -> AsyncIterator[Asking]:
    """Yield a replica whose file lets alice publish, on a stopped clock."""
    known = files(folder)
    known.write("policy", OPEN)
    async with another(Broker(), known, **changed) as asking:
        yield asking


@asynccontextmanager
async def another(broker: Broker, known: Files, **changed: Any) -> AsyncIterator[Asking]:
    """Start another replica on the same store."""
    async with replica(MemoryBus(broker), MemoryBus(broker), known, **changed) as asking:
        asking.clock.now = time.time()
        broker.policies.clock = asking.clock
        yield asking


def broker_of(asking: Asking) -> Broker:
    """Return the broker that all its buses share."""
    assert isinstance(asking.bus, MemoryBus)
    return asking.bus.broker


async def decided(asking: Asking, operation: str, **parameters: Any) -> tuple[StoredPolicy, DecideReply]:
    """Return policy's answer to alice's signed request, and an executor's version of it, without its document."""
    subject = asking.signed(asking.subject(operation, "writ", parameters={"reason": "a test", **parameters}))
    last = await asking.bus.policies.last(subjects.POLICIES)
    answer = await asking.decide(subject, stored_policies=last.sequence if last else 0)
    supplied = {name: value for name, value in subject.parameters.items() if name != "document"}
    effective = {name: value for name, value in answer.effective.items() if name != "document"}
    sent = parameters.get("document", "")
    text, compressed = document_in(sent), packed_bytes(sent)
    version = StoredPolicy(
        number=0,
        packed=packed(text) if compressed is None else compressed,
        sent_packed=compressed is not None,
        digest=plain_digest(text.encode()),
        author="alice",
        origin="published" if operation == "policy_publish" else "rollback",
        at=asking.clock.now,
        reason="a test",
        restores=parameters.get("version"),
        operation_id=subject.operation_id,
        given=supplied,
        effective=effective,
        statement=subject.statement,
        salt=SALT,
        decision=answer.decision,
        parameters_key=KEY,
    )
    return version, answer


async def store(bus: Bus, version: StoredPolicy, *, subject: str = "", **changed: Any) -> int:
    """Store it as the next version, with these changes; return its number."""
    last = await bus.policies.last(subjects.POLICIES)
    stored = last.sequence if last else 0
    version = structs.replace(version, **{"number": stored + 1, **changed})
    entry = Entry(
        subject=subject or subjects.published_policy(version.operation_id),
        data=encode(version),
        event_id=f"stored-{stored + 1}",
        filter=subjects.POLICIES,
        expected=stored,
    )
    return await bus.policies.append(entry)


async def publish(asking: Asking, text: str, **changed: Any) -> int:
    """Alice publishes, and an executor stores and announces it; the sequence of the control event."""
    version, answer = await decided(asking, "policy_publish", document=text)
    assert answer.error is None, answer.error
    number = await store(asking.bus, version, **changed)
    return await announce(asking, version, number)


async def roll_back(asking: Asking, number: int) -> int:
    """The same for an earlier version."""
    version, answer = await decided(asking, "policy_rollback", version=number)
    assert answer.error is None, answer.error
    [record] = await asking.bus.policies.read(subjects.POLICIES, after=number - 1, limit=1)
    earlier = decode(record.data, StoredPolicy)
    stored = await store(asking.bus, version, packed=earlier.packed, digest=earlier.digest)
    return await announce(asking, version, stored)


async def announce(asking: Asking, version: StoredPolicy, number: int) -> int:
    kind = "policy_publish" if version.origin == "published" else "policy_rollback"
    more = {"operation_id": version.operation_id, "parameters_key": KEY}
    return await asking.control(kind, {"version": number, "digest": version.digest}, version.decision, **more)


async def number(asking: Asking, **more: Any) -> int:
    """Return the number of the deciding version."""
    return (await asking.decision(asking.subject(), **more)).policy.number


async def code_after(asking: Asking, sequence: int) -> str:
    """Return the code of a decision by a replica that has read that control event."""
    return await asking.code(asking.subject(), control_sequence=sequence)
