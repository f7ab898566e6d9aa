"""A stolen key of a real installation opens only the rights of its role.

An attacker with the executors' key can send policy any question, but no agent accepts the signed replies alone.
"""

import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import json, structs
from tests.attacks.rogue import Rogue
from tests.e2e.stolen_keys import (
    CATALOGUE,
    KEY,
    decided,
    holding,
    parameters_by_operation,
    robbed,
    started,
    subject,
)

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_client.client import Writ
from writ_client.operations import request_signing
from writ_contracts import subjects
from writ_contracts.agents import (
    CancelReply,
    CancelRequest,
    Claim,
    ClaimMessage,
    ClaimReply,
    Heartbeat,
    Progress,
    ReadReply,
    ReadRequest,
)
from writ_contracts.decisions import Decision, GrantReply, GrantRequest, ReadGrant, Subject
from writ_contracts.ids import encode_id, operation_id
from writ_contracts.operations import Operation, Risk
from writ_contracts.requests import Request, RequestReply
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_trust.sealing import SealKey
from writ_trust.statements import read, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
DEMANDING = [o for o in CATALOGUE.values() if o.own_signature or o.risk is Risk.ADMIN]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    async with robbed(tmp_path_factory.mktemp("robbed")) as running:
        yield running


@pytest.fixture
def files(installation: RunningInstallation) -> Path:
    return installation.home.root.parent / "files"


@pytest_asyncio.fixture(loop_scope="module")
async def executor(installation: RunningInstallation) -> AsyncIterator[Bus]:
    async with holding(installation, "executor") as bus:
        yield bus


@pytest_asyncio.fixture(loop_scope="module")
async def alice(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("alice") as client:
        yield client


async def recorded(bus: Bus, kind: str) -> None:
    """Wait for a security event of this kind."""

    async def event_is_recorded() -> bool:
        return await bus.journal.last(subjects.security_event(kind)) is not None

    await eventually(event_is_recorded, what=f"a security event {kind}")


@pytest.mark.parametrize("operation", DEMANDING, ids=lambda one: one.name)
async def test_operation_that_demands_a_signature_needs_one(
    installation: RunningInstallation, executor: Bus, operation: Operation
) -> None:
    target = "writ" if operation.control else "web-1"
    known = parameters_by_operation()
    plain = subject(installation, operation.name, target, known.get(operation.name, {}))
    for about in (plain, structs.replace(plain, owner="bob"), structs.replace(plain, dry_run=True)):
        answer = await decided(executor, about, look=["preview", "baseline", "probe"], look_key=KEY)
        if answer.decision is None:  # what this installation has no backend for, or breaks its schema
            assert operation.name not in known, answer
            continue
        decision = read(answer.decision, Decision)
        assert (decision.effect, decision.code) == ("deny", "signature_required"), about
        assert answer.look is None
    simulated = await decided(executor, structs.replace(plain, simulate=True), look=["preview"], look_key=KEY)
    assert simulated.look is None
    if simulated.decision is not None:
        assert read(simulated.decision, Decision).authenticated == "nobody"


async def test_no_grant_comes_of_a_simulation_or_for_a_claim_that_no_agent_made(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    write = subject(installation, "file_write", "web-1", {"file_path": str(files / "never"), "content": "x"})

    async def granted(about: Subject, signer: str, **changed: Any) -> GrantReply:
        claim = Claim(
            operation_id=write.operation_id, attempt=1, pool="a", instance="i", nonce="0" * 64, seal_to=SealKey().public
        )
        signed = sign(installation.home.key(signer), structs.replace(claim, **changed))
        ask = GrantRequest(subject=about, claim=signed, control_sequence=0)
        return decode((await executor.request(subjects.POLICY_GRANT, encode(ask), timeout=10)).data, GrantReply)

    first = (await decided(executor, write)).decision
    assert first is not None
    rogue = Rogue(executor)
    await rogue.append(write, rogue.requested(write, first))
    with installation.paused("agent"), installation.paused("executor"):
        await rogue.dispatch(write)
        assert (await granted(structs.replace(write, simulate=True), "agent-a")).grant is None
        for signer in ("executor", "agent-b", "audit", "principal-alice"):
            assert (await granted(write, signer)).grant is None, signer
        for wrong in ({"pool": "b"}, {"operation_id": "b" * 26}):
            assert (await granted(write, "agent-a", **wrong)).grant is None, wrong
        for other in (
            {"principal": "bob"},
            {"key": installation.home.key("principal-bob").public},
            {"target": "nowhere"},
        ):
            assert (await granted(structs.replace(write, **other), "agent-a")).grant is None, other
        assert (await granted(write, "agent-a")).grant  # the harness works: an agent's key and the executors' together
        await rogue.append(write, rogue.finished(write))  # its target is free again


async def test_a_running_operation_is_cancelled_by_its_owner_or_on_a_signature_and_by_nothing_else(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    answer = await alice.submit("test_sleep", "web-1", {"seconds": 60, "processes": 0})
    number = answer.operation_id or ""
    instance = await started(executor, "alice", number)

    async def cancel(about: Subject) -> CancelReply:
        answer = await decided(executor, about)
        assert answer.decision is not None
        ask = CancelRequest(
            operation_id=number, decision=answer.decision, parameters=answer.effective, parameters_key=KEY
        )
        reply = await executor.request(subjects.cancel("a", instance), encode(ask), timeout=20)
        return decode(reply.data, CancelReply)

    own = subject(installation, "operation_cancel", "writ", {"operation_id": number}, owner="alice")
    bob = {"principal": "bob", "key": installation.home.key("principal-bob").public}
    for wrong in (
        structs.replace(own, owner=None),
        structs.replace(own, simulate=True),
        structs.replace(own, **bob, owner="bob"),
        structs.replace(own, **bob, simulate=True),
        structs.replace(own, parameters={"operation_id": "a" * 26}),
    ):
        assert (await cancel(wrong)).error, wrong
    assert (await alice.get(number)).state == "started"
    assert (await cancel(own)).result == "stopped"
    assert (await alice.wait(number, timeout=20)).outcome == "cancelled"
    await recorded(executor, "forged_cancel")


async def test_agent_reads_only_what_a_read_grant_names(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    (files / "seen").write_text("x")
    parameters = {"file_path": str(files / "seen"), "content": "y"}
    about = subject(installation, "file_write", "web-1", parameters, dry_run=True)
    answer = await decided(executor, about, look=["preview"], look_key=KEY, look_until=time.time() + 30)
    late = await decided(executor, about, look=["preview"], look_key=KEY, look_until=time.time() - 1)
    assert answer.look is not None
    assert late.look is not None
    true = ReadRequest(look=answer.look, action="preview", parameters=answer.effective, look_key=KEY)
    forged = sign(installation.home.key("executor"), json.decode(answer.look.payload, type=ReadGrant))
    wrongs: dict[str, tuple[ReadRequest, str]] = {
        "late": (structs.replace(true, look=late.look), "a"),
        "another action": (structs.replace(true, action="baseline"), "a"),
        "another path": (structs.replace(true, parameters={**answer.effective, "file_path": "/etc/shadow"}), "a"),
        "another key": (structs.replace(true, look_key="1" * 64), "a"),
        "another pool": (true, "b"),
        "forged": (structs.replace(true, look=forged), "a"),
    }

    async def look(ask: ReadRequest, pool: str) -> ReadReply:
        return decode((await executor.request(subjects.host_read(pool), encode(ask), timeout=20)).data, ReadReply)

    assert (await look(true, "a")).error is None
    for what, (ask, pool) in wrongs.items():
        looked = await look(ask, pool)
        assert looked.error, what
        assert looked.observed == {}, what
    await recorded(executor, "forged_look")


async def test_an_agent_gets_nothing_of_another_pools_operation(
    installation: RunningInstallation, executor: Bus
) -> None:
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        heard.append(message.data)

    async with await installation.client("alice") as alice, holding(installation, "agent-a") as thief:
        await alice._bus.subscribe(f"{subjects.events_of('alice')[:-1]}*.progress", hear)
        answer = await alice.submit("test_sleep", "db-1", {"seconds": 60, "processes": 0})
        number = answer.operation_id or ""
        await started(executor, "alice", number)
        claim = Claim(
            operation_id=number,
            attempt=1,
            pool="a",
            instance="thief",
            nonce=secrets.token_hex(32),
            seal_to=SealKey().public,
        )
        for signer, pool in (("agent-a", "a"), ("agent-a", "b"), ("agent-b", "b")):
            signed = sign(installation.home.key(signer), structs.replace(claim, pool=pool))
            body = encode(ClaimMessage(claim=signed, principal="alice"))
            reply = decode((await thief.request(subjects.claim("a"), body, timeout=10)).data, ClaimReply)
            assert reply.error, (signer, pool)
            assert (reply.grant, reply.sealed) == (None, b"")
        word = Progress(operation_id=number, principal="alice", message="believe me")
        await thief.publish(subjects.progress("a"), encode(word))
        beat = Heartbeat(pool="b", instance="thief", running=[], free_slots=9, operations=[], version="x")
        await thief.publish(subjects.heartbeat("a"), encode(beat))
        for other in (subjects.claim("b"), subjects.receipt("b"), subjects.report("b"), subjects.heartbeat("b")):
            with pytest.raises(Forbidden):
                await thief.request(other, b"{}", timeout=5)
        assert (await alice.cancel(number)).outcome == "succeeded"
        assert (await alice.wait(number, timeout=20)).outcome == "cancelled"
        targets = {one.id: one.agents for one in await alice.targets()}
        assert targets["db-1"] <= 1, "the thief was counted"  # its own may not have been heard for a lease
    assert not any(b"believe me" in word for word in heard)


async def test_a_signature_is_for_one_operation_of_one_principal_also_after_a_restart(
    installation: RunningInstallation, files: Path
) -> None:
    (files / "once").write_text("x")
    request = request_signing.unsigned("web-1", {"file_path": str(files / "once")}, idempotency_key="the-one")
    key = installation.home.key("principal-alice")
    signed = request_signing.signed(
        request, key, "alice", "file_delete", salt=request_signing.new_salt(), now=time.time()
    )
    elsewhere = structs.replace(signed, idempotency_key="c", parameters={"file_path": "/x"})
    async with holding(installation, "principal-alice") as alice, holding(installation, "principal-bob") as bob:

        async def ask(bus: Bus, who: str, what: Request, operation: str = "file_delete") -> RequestReply:
            return decode(
                (await bus.request(subjects.request(who, operation), encode(what), timeout=15)).data, RequestReply
            )

        first = await ask(alice, "alice", signed)
        assert first.operation_id == operation_id("alice", "the-one")

        async def gone() -> bool:
            return not (files / "once").exists()

        await eventually(gone)
        (files / "once").write_text("again")
        before = installation.kill("executor")
        await installation.until("executor", other_than=before)
        assert (await ask(alice, "alice", signed)).operation_id == first.operation_id
        for who, bus, what, operation in (
            ("alice", alice, structs.replace(signed, idempotency_key="another"), "file_delete"),
            ("alice", alice, structs.replace(signed, idempotency_key=None), "file_delete"),
            ("alice", alice, structs.replace(signed, idempotency_key="b", target="db-1"), "file_delete"),
            ("alice", alice, elsewhere, "file_delete"),
            ("bob", bob, signed, "file_delete"),
            ("bob", bob, structs.replace(signed, statement=None, salt=None), "file_delete"),
        ):
            refused = await ask(bus, who, what, operation)
            assert refused.outcome in ("invalid", "denied"), (who, what)
    assert (files / "once").read_text() == "again"


@pytest.mark.parametrize("key", ["status", "audit", "bootstrap", "keeper", "policy", "principal-bob"])
async def test_no_other_key_speaks_for_the_executors(installation: RunningInstallation, key: str) -> None:
    spoken = [
        subjects.host_read("a"),
        subjects.cancel("a", "x"),
        subjects.request("alice", "test_noop"),
        subjects.query("alice", "operations"),
        subjects.claim("a"),
        subjects.POLICY_DECIDE,
        subjects.POLICY_GRANT,
        subjects.control_event("stop_set"),
        subjects.operation_event("alice", encode_id(b"0" * 16), "finished"),
        subjects.progress_event("alice", "a" * 26),
        f"writ.params.{'a' * 26}",
        "$JS.API.STREAM.PURGE.WRIT_JOURNAL" if key != "bootstrap" else "writ.nothing",
        "$JS.API.STREAM.MSG.GET.WRIT_PARAMS" if key != "bootstrap" else "writ.nothing",
    ]
    async with holding(installation, key) as bus:
        for one in spoken:
            with pytest.raises(Forbidden):
                await bus.request(one, b"{}", timeout=5)
