"""Each ability of a stolen key in docs/threat-model.md is shown on a running installation."""

import secrets
from typing import Any

import pytest
from tests.e2e.stolen_keys import holding

from writ_bus.errors import Forbidden
from writ_bus.port import Bus, Message
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.agents import (
    Acknowledgement,
    Claim,
    ClaimMessage,
    ClaimReply,
    Heartbeat,
    Receipt,
    ReceiptMessage,
    SealedParameters,
)
from writ_contracts.errors import TimedOut, Unreachable, WritError
from writ_contracts.history.audit import TraceReply
from writ_contracts.wire import decode, encode
from writ_executor.journal.hidden_values import PLACE
from writ_executor.journal.shared_keys import SharedKeys
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.peers.nats_server import free_port
from writ_trust.sealing import SealKey
from writ_trust.statements import digest, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
MOST_INSTANCES = 256


def beat(instance: str, pool: str = "a") -> bytes:
    one = Heartbeat(pool=pool, instance=instance, running=[], free_slots=9, operations=["test_noop"], version="x")
    return encode(one)


async def agents_of(alice: Writ, target: str) -> int:
    return {one.id: one.agents for one in await alice.targets()}[target]


async def test_an_executors_thief_reads_a_secret_parameter_and_can_answer_nobody(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    bodies: list[bytes] = []

    async def hear(message: Message) -> None:
        bodies.append(message.data)

    async def shown() -> bool:
        return any(b"a-secret-of-alice" in one for one in bodies)

    heard = await executor.subscribe(subjects.request("alice", "file_write"), hear)
    parameters = {"file_path": "/srv/x", "content": "a-secret-of-alice"}
    with installation.paused("executor"):
        with pytest.raises((TimedOut, Unreachable)):
            await alice.submit("file_write", "db-1", parameters, timeout=0.5)
        await eventually(shown, what="what she sent")
    await heard.close()


async def test_an_executors_thief_shows_a_requester_another_full_output_than_the_agent_sent(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    path = installation.home.root.parent / "files" / "read-by-alice"
    path.write_text("true")
    done = await alice.run("file_read", "web-1", {"file_path": str(path)})
    place = f"alice.{done.operation_id}"
    forged = SharedKeys.read(installation.home.params_key).encrypt(encode({"content": "forged", PLACE: place}))
    await executor.results.put(place, forged, ttl=60.0)
    assert (await alice.result(done.operation_id) or {})["content"] == "forged"
    assert (await alice.get(done.operation_id)).output.get("digest") == done.output["digest"]  # as the agent signed it


async def test_an_executors_thief_cannot_make_up_agents(executor: Bus) -> None:
    with pytest.raises(Forbidden):
        await executor.request(subjects.heartbeat("a"), beat("ghost"), timeout=2)


async def test_an_audit_thief_reads_all_and_answers_falsely_and_writes_its_own_alarms_alone(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    done = await alice.run("test_noop", "web-1")

    async def nothing(message: Message) -> None:
        await thief.publish(message.reply, encode(TraceReply()))

    async with holding(installation, "audit") as thief:
        assert await thief.journal.read(subjects.operation_filter("alice", done.operation_id))
        with installation.paused("audit"):
            await thief.subscribe(subjects.query("alice", "trace"), nothing)
            assert (await alice.trace(operation_id=done.operation_id)).events == []
        own = subjects.operation_event("alice", done.operation_id, "finished")
        for subject in (own, subjects.operation_event("alice", done.operation_id, "granted"), subjects.POLICY_GRANT):
            with pytest.raises(Forbidden):
                await thief.request(subject, b"{}", timeout=5)


async def test_a_monitoring_thief_sees_how_full_the_streams_are_and_no_subject_of_the_journal(
    installation: RunningInstallation, alice: Writ
) -> None:
    await alice.run("test_noop", "web-1")
    async with holding(installation, "status") as thief:
        for body in (b"", b'{"subjects_filter":">"}', b'{"subject":"writ.journal.>","subjects_filter":">"}'):
            answer = (await thief.request("writ.api.journal", body, timeout=5)).data
            assert b"writ.journal.op" not in answer
            assert b"alice" not in answer
        assert (await thief.journal.usage()).messages > 0


async def claimed(
    installation: RunningInstallation, thief: Bus, number: str, instance: str = "thief"
) -> tuple[Claim, Any, SealedParameters]:
    """Claim it as this instance, or as an instance of no agent; return the claim, the grant and its attachments."""
    seal = SealKey()
    claim = Claim(
        operation_id=number, attempt=1, pool="a", instance=instance, nonce=secrets.token_hex(32), seal_to=seal.public
    )
    signed = sign(installation.home.key("agent-a"), claim)
    body = encode(ClaimMessage(claim=signed, principal="alice"))

    async def claim_grant() -> ClaimReply | None:
        answer = decode((await thief.request(subjects.claim("a"), body, timeout=10)).data, ClaimReply)
        assert answer.error is None, answer.error
        return answer if answer.grant is not None else None

    answer = await eventually(claim_grant, what="a grant")
    return claim, (signed, answer.grant), decode(seal.open(answer.sealed), SealedParameters)


async def test_an_agents_thief_reads_parameters_of_its_pool_and_reports_what_was_never_done(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    path = installation.home.root.parent / "files" / "never"
    async with holding(installation, "agent-a") as thief:
        with installation.paused("agent-a"):
            answer = await alice.submit("file_write", "web-1", {"file_path": str(path), "content": "secret-of-alice"})
            number = answer.operation_id or ""
            claim, (signed, grant), opened = await claimed(installation, thief, number)
            assert opened.parameters["content"] == "secret-of-alice"
            receipt = Receipt(
                operation_id=number,
                attempt=1,
                pool="a",
                instance=claim.instance,
                grant_digest=digest(grant),
                outcome="succeeded",
                code="",
                message="",
                output_digest="0" * 64,
                output_bytes=2,
                claim_digest=digest(signed),
            )
            message = ReceiptMessage(receipt=sign(installation.home.key("agent-a"), receipt), principal="alice")
            reply = await thief.request(subjects.receipt("a"), encode(message), timeout=10)
            assert decode(reply.data, Acknowledgement).error is None
            assert (await alice.wait(number, timeout=20)).outcome == "succeeded"
    assert not path.exists()


@pytest.mark.exhaustive
async def test_an_agents_thief_is_at_most_so_many_instances_and_none_after_a_lease(
    installation: RunningInstallation, alice: Writ
) -> None:
    async with holding(installation, "agent-a") as thief:

        async def many() -> bool:
            for number in range(MOST_INSTANCES + 50):
                await thief.publish(subjects.heartbeat("a"), beat(f"ghost-{number}"))
            return await agents_of(alice, "web-1") > 100

        await eventually(many, what="ghosts")
        assert await agents_of(alice, "web-1") <= MOST_INSTANCES

    async def gone() -> bool:
        return await agents_of(alice, "web-1") <= 1

    await eventually(gone, what="the end of the ghosts")
    assert (await alice.run("test_noop", "web-1", timeout=30)).outcome == "succeeded"


@pytest.mark.exhaustive
async def test_key_of_a_link_connects_no_client(installation: RunningInstallation) -> None:
    site, url = installation.home.root / "depot", f"nats://127.0.0.1:{free_port()}"
    added = await installation.writ("leaf", "add", "depot", "--pool", "b", "--url", url, "--out", str(site))
    assert added.status == 0, added

    async def refused() -> bool:
        try:
            async with holding(installation, "leaf-depot-b"):
                return False
        except WritError as error:
            return isinstance(error, Forbidden)

    await eventually(refused, what="a refusal of the link's key as a client's")
