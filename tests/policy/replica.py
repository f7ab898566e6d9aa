"""A policy service under test: its files in a folder, with new keys, and questions as an executor sends them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct, structs
from tests.rules.asking import CATALOGUE, NOON, at

from writ_bus.port import Bus, Entry
from writ_contracts import subjects
from writ_contracts.agents import Claim
from writ_contracts.decisions import (
    DecideReply,
    DecideRequest,
    Decision,
    Grant,
    GrantReply,
    GrantRequest,
    PolicyVersion,
    Subject,
)
from writ_contracts.ids import operation_id
from writ_contracts.journal import ControlEvent, Dispatched, OperationEvent, Requested
from writ_contracts.requests import RequestStatement, Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_documents import yaml_file
from writ_policy.config import PolicyConfig
from writ_policy.metrics import metrics
from writ_policy.service import PolicyService
from writ_runtime.metrics import Metrics
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, open_signed, read, sign

VERSION = PolicyVersion(
    name="test", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64
)
_replicas = itertools.count()
"""Each keeps what it must not forget in a folder of its own, unless a test says that it is the same one again."""
KEY, SALT, NONCE, LOOK_KEY = "ab" * 32, "cd" * 32, "ef" * 32, "12" * 32
RULES = [
    {"name": "services", "operations": ["service_restart", "service_status"], "allowed": True},
    {"name": "files", "operations": ["file_write", "file_delete"], "allowed": True},
    {"name": "stops", "operations": ["stop_set", "stop_lift"], "allowed": True},
]


class Files(Struct, frozen=True):
    """The four files in a folder, and the keys in them."""

    folder: Path
    keys: dict[str, Key]
    installation: str = ""

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def write(self, name: str, data: object) -> None:
        """Whole and at once, as an operator should: by renaming."""
        draft = self.folder / f".{name}"
        draft.write_text(data if isinstance(data, str) else yaml_file.dump(data))
        draft.replace(self.path(name))

    def policy(self, *rules: dict[str, Any], **keys: Any) -> None:
        policy = {"name": "test", "require_approval_for_admin": False, "global_policies": [*rules], **keys}
        self.write("policy", {"policies": policy})

    def config(self, **changed: Any) -> PolicyConfig:
        paths: dict[str, Any] = {name: self.path(name) for name in ("policy", "inventory", "principals", "agents")}
        paths["state_dir"] = self.folder / f"state-{next(_replicas)}"
        return PolicyConfig(
            nats_url="nats://127.0.0.1",
            installation=self.installation,
            key_file=self.folder / "policy.seed",
            **{**paths, **changed},
        )


def files(folder: Path, installation: str = "") -> Files:
    """Alice, her agent, bob, an executor's and two agents' keys; one target for each pool."""
    names = ("alice", "copilot", "bob", "agent-a", "agent-b", "policy", "stranger")
    made = Files(folder, {name: Key(generate_seed(), installation) for name in names}, installation)
    made.policy(*RULES)
    target = {"role": "development", "backend": "local", "file_roots": ["/srv"]}
    made.write(
        "inventory",
        {
            "targets": [
                {"id": "web-a", "agent": "a", **target},
                {"id": "web-b", "agent": "b", **target},
                {"id": "narrow", "agent": "a", **target, "capabilities": ["file_*"]},
                {"id": "box", "role": "development", "backend": "docker"},
            ]
        },
    )
    people = [
        {"id": "alice", "kind": "human", "roles": ["operator"], "key": made.keys["alice"].public},
        {"id": "bob", "kind": "human", "roles": ["approver"], "key": made.keys["bob"].public},
        {"id": "copilot", "kind": "agent", "acts_for": "alice", "key": made.keys["copilot"].public},
    ]
    made.write("principals", {"principals": people})
    made.write("agents", {"agents": [{"pool": pool, "key": made.keys[f"agent-{pool}"].public} for pool in "ab"]})
    return made


class Clock:
    """The service's clock, which stands still."""

    now = at(NOON)

    def __call__(self) -> float:
        return self.now


class Asking:
    def __init__(self, bus: Bus, files: Files, service: PolicyService, measured: Metrics, clock: Clock) -> None:
        self.bus, self.files, self.service, self.measured, self.clock = bus, files, service, measured, clock
        self._numbers = itertools.count()

    def subject(self, operation: str = "service_restart", target: str = "web-a", **changed: Any) -> Subject:
        principal = changed.pop("principal", "alice")
        number = f"key-{next(self._numbers)}"
        parameters = {"service_name": "nginx"} if operation.startswith("service_") else {}
        subject = Subject(
            operation_id=operation_id(principal, number),
            principal=principal,
            key=self.files.keys[principal].public if principal in self.files.keys else "UNKNOWN",
            operation=operation,
            target=target,
            parameters=parameters,
            parameters_key=KEY,
            idempotency_key=number,
        )
        return structs.replace(subject, **changed)

    def signed(self, subject: Subject, *, by: str | None = None, **changed: Any) -> Subject:
        """Return the subject with its principal's statement; `changed` are different fields of the statement."""
        statement = RequestStatement(
            principal=subject.principal,
            operation=subject.operation,
            target=subject.target,
            parameters_digest=keyed_digest(SALT, subject.parameters),
            idempotency_key=subject.idempotency_key or "",
            dry_run=subject.dry_run,
            issued_at=self.clock.now,
        )
        made = sign(self.files.keys[by or subject.principal], structs.replace(statement, **changed))
        return structs.replace(subject, statement=made, salt=SALT)

    async def decide(self, subject: Subject, *, control_sequence: int = 0, **look: Any) -> DecideReply:
        ask = DecideRequest(subject=subject, control_sequence=control_sequence, **look)
        return decode((await self.bus.request(subjects.POLICY_DECIDE, encode(ask), timeout=30)).data, DecideReply)

    async def decision(self, subject: Subject, **more: Any) -> Decision:
        """The decision, whose signature holds."""
        decided = await self.decide(subject, **more)
        assert decided.error is None, decided.error
        assert decided.decision is not None
        return open_signed(decided.decision, Decision, (self.files.keys["policy"].public,), self.files.installation)

    async def code(self, subject: Subject, **more: Any) -> str:
        """The code of the error, or of the decision."""
        decided = await self.decide(subject, **more)
        if decided.error is not None:
            return decided.error.code
        assert decided.decision is not None
        return read(decided.decision, Decision).code

    def claim(self, subject: Subject, *, by: str = "agent-a", **changed: Any) -> Signed:
        claim = Claim(operation_id=subject.operation_id, attempt=1, pool="a", instance="one", nonce=NONCE, seal_to="x")
        return sign(self.files.keys[by], structs.replace(claim, **changed))

    def first_decision(self, subject: Subject, **changed: Any) -> Decision:
        """Return policy's decision at the time of the request: allow."""
        decision = Decision(
            operation_id=subject.operation_id,
            principal=subject.principal,
            operation=subject.operation,
            target=subject.target,
            effect="allow",
            code="allowed",
            rules=["services"],
            reason="allowed",
            parameters_digest=keyed_digest(KEY, subject.parameters),
            policy=VERSION,
            control_sequence=0,
            at=self.clock.now,
            authenticated="signature" if subject.statement else "server",
            statement_digest=digest(subject.statement) if subject.statement else None,
            own_parameters_digest=None if subject.statement else keyed_digest(KEY, subject.parameters),
        )
        return structs.replace(decision, **changed)

    async def record(self, subject: Subject, decision: Signed | None = None, **changed: Any) -> None:
        """Store the events before a claim: `requested` with the first decision, and `dispatched`."""
        decision = decision or sign(self.files.keys["policy"], self.first_decision(subject))
        common: dict[str, Any] = {
            "at": self.clock.now,
            "correlation_id": "c",
            "operation_id": subject.operation_id,
            "principal": subject.principal,
            "operation": subject.operation,
            "target": subject.target,
            "pool": "a",
            "parameters": {},
            "start_by": self.clock.now + 60,
            "timeout": 60,
        }
        requested = Requested(
            **{
                **common,
                "id": f"requested-{next(self._numbers)}",
                "risk": "change",
                "idempotent": True,
                "key": subject.key,
                "effective": {},
                "hidden": sorted(subject.parameters.keys() - changed.get("parameters", {}).keys()),
                "parameters_digest": "0" * 64,
                "fingerprint": "",
                "verdict": Verdict(decision="allow", rules=[], reason="", code="allowed"),
                "decision": decision,
                "dry_run": subject.dry_run,
                "idempotency_key": subject.idempotency_key,
                "statement": subject.statement,
                "salt": subject.salt,
                **changed,
            }
        )
        await self.append(subject, requested)
        if requested.dispatched is not None:
            return
        await self.append(subject, Dispatched(**common, id=f"dispatched-{next(self._numbers)}", attempt=1))

    async def append(self, subject: Subject, event: OperationEvent) -> None:
        """Store an event of the subject's operation, whatever precedes it."""
        own, kind = subjects.operation_filter(subject.principal, subject.operation_id), str(event.__struct_config__.tag)
        addressed = isinstance(event, Dispatched) or (isinstance(event, Requested) and event.dispatched is not None)
        where = {"pool": event.pool, "target": event.target} if addressed else {}  # type: ignore[union-attr]
        last = await self.bus.journal.last(own)
        entry = Entry(
            subject=subjects.operation_event(subject.principal, subject.operation_id, kind, **where),
            data=encode(event),
            event_id=event.id,
            filter=own,
            expected=last.sequence if last else 0,
        )
        await self.bus.journal.append(entry)

    async def granted(
        self, subject: Subject, claim: Signed | None = None, *, control_sequence: int = 0, **more: Any
    ) -> GrantReply:
        """Return the answer to a claim. Missing events are first stored, as an executor does."""
        if await self.bus.journal.last(subjects.operation_filter(subject.principal, subject.operation_id)) is None:
            await self.record(subject)
        return await self.granted_as_recorded(subject, claim, control_sequence=control_sequence, **more)

    async def granted_as_recorded(
        self, subject: Subject, claim: Signed | None = None, *, control_sequence: int = 0, **more: Any
    ) -> GrantReply:
        """Return the answer to a claim, for the present journal alone."""
        ask = GrantRequest(
            subject=subject, claim=claim or self.claim(subject), control_sequence=control_sequence, **more
        )
        return decode((await self.bus.request(subjects.POLICY_GRANT, encode(ask), timeout=30)).data, GrantReply)

    async def grant(self, subject: Subject, claim: Signed | None = None) -> Grant:
        """The grant, whose signature holds."""
        granted = await self.granted(subject, claim)
        assert granted.grant is not None, granted
        return open_signed(granted.grant, Grant, (self.files.keys["policy"].public,), self.files.installation)

    async def control(self, kind: str, body: dict[str, Any], decision: Signed | None = None, **more: Any) -> int:
        """Stores a control event, as an executor does; its sequence."""
        number = next(self._numbers)
        event = ControlEvent(
            **{
                "id": f"control-{number}",
                "at": self.clock.now,
                "correlation_id": "c",
                "kind": kind,
                "principal": "alice",
                "operation_id": "a" * 26,
                "body": body,
                "decision": decision,
                **more,
            }
        )
        return await self.store(kind, encode(event))

    async def store(self, kind: str, data: bytes) -> int:
        last = await self.bus.journal.last(subjects.CONTROL)
        entry = Entry(
            subject=subjects.control_event(kind),
            data=data,
            event_id=f"event-{next(self._numbers)}",
            filter=subjects.CONTROL,
            expected=last.sequence if last else 0,
        )
        return await self.bus.journal.append(entry)


@asynccontextmanager
async def replica(bus: Bus, asking_bus: Bus, known: Files, **changed: Any) -> AsyncIterator[Asking]:
    """Yield a running policy service and a client of it, on the client's clock."""
    measured = metrics()
    clock = Clock()
    catalogue = changed.pop("catalogue", CATALOGUE)
    service = PolicyService(known.config(**changed), catalogue, known.keys["policy"], measured, clock)
    asking = Asking(asking_bus, known, service, measured, clock)
    if isinstance(bus, MemoryBus):
        bus.broker.disk.clock = clock  # the server stamps events by the same clock
    await service.serve(bus)
    following = asyncio.create_task(service.follow())
    try:
        yield asking
    finally:
        await service.stop()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
