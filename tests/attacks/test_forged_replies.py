"""Replies to reads and cancels, forged with the rights of an agent at NATS: without its signing key, and with it."""

from collections.abc import Callable

import pytest
from tests.attacks.rogue import alarm
from tests.e2e.stolen_keys import holding, started

from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.signed_replies import signed_reply
from writ_bus.port import Bus, Message
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.agents import CancelReply, ReadReply, ReadRequest
from writ_contracts.decisions import ReadGrant
from writ_contracts.people.previews import Preview
from writ_contracts.wire import decode, encode
from writ_testing.installations.installation import RunningInstallation
from writ_trust.statements import digest, read, sign

pytestmark = pytest.mark.asyncio(loop_scope="module")
STOPPED = encode(CancelReply(result="stopped"))
SLEEP = {"seconds": 600, "processes": 0}


def forged_preview(identity: AgentIdentity, message: Message) -> bytes:
    """Return a preview of a change that nobody makes."""
    ask = decode(message.data, ReadRequest)
    grant = read(ask.look, ReadGrant)
    preview = Preview(
        operation_id=grant.operation_id,
        operation=grant.operation,
        target=grant.target.id,
        pool=grant.pool,
        instance=identity.instance,
        look_digest=digest(ask.look),
        parameters_digest=grant.previewed,
        taken_at=1.0,
        shown={"made_up": True},
    )
    return encode(ReadReply(observed=preview.shown, preview=sign(identity.key, preview)))


async def answer(thief: Bus, subject: str, reply: Callable[[Message], bytes]) -> None:
    """Answer requests on the subject."""

    async def forge(message: Message) -> None:
        await thief.publish(message.reply, reply(message))

    await thief.subscribe(subject, forge)


async def dry_run(installation: RunningInstallation, alice: Writ) -> tuple[str | None, bool]:
    path = str(installation.home.root.parent / "files" / "previewed")
    seen = await alice.run("file_write", "web-1", {"file_path": path, "content": "x"}, dry_run=True)
    return seen.outcome, "made_up" in seen.output


async def test_replies_by_whoever_has_an_agents_rights_at_nats_without_its_key_count_for_nothing(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    sleeping = (await alice.submit("test_sleep", "web-1", SLEEP)).operation_id or ""
    await started(executor, "alice", sleeping)
    async with holding(installation, "agent-a") as thief:
        with installation.paused("agent-a"):
            await answer(thief, subjects.host_read("a"), lambda _: encode(ReadReply(observed={"made_up": True})))
            await answer(thief, "writ.agent.a.cancel.*", lambda _: STOPPED)
            assert await dry_run(installation, alice) == ("failed", False)
            cancel = await alice.cancel(sleeping)
            assert cancel.outcome == "unknown"
            assert (await alice.get(sleeping)).outcome in (None, "unknown")  # it was not stopped
    assert "not signed" in (await alarm(executor, "bad_signature", sleeping, "reply")).detail
    await alarm(executor, "bad_signature", text="preview")
    assert (await alice.wait(sleeping, timeout=60)).outcome in ("cancelled", "unknown")


async def test_an_agents_thief_replies_to_cancels_and_reads_for_the_agent_that_has_the_same_key(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    sleeping = (await alice.submit("test_sleep", "web-1", SLEEP)).operation_id or ""
    honest = await started(executor, "alice", sleeping)
    identity = AgentIdentity(key=installation.home.key("agent-a"), pool="a", instance=honest)
    async with holding(installation, "agent-a") as thief:

        async def stop_nothing(message: Message) -> None:
            signed = signed_reply(identity, message, STOPPED)
            await thief.publish(message.reply, signed.data, headers=signed.headers)

        with installation.paused("agent-a"):
            await answer(thief, subjects.host_read("a"), lambda message: forged_preview(identity, message))
            await thief.subscribe(subjects.cancel("a", honest), stop_nothing)
            assert await dry_run(installation, alice) == ("previewed", True)
            assert (await alice.cancel(sleeping)).outcome == "succeeded"
            assert (await alice.get(sleeping)).outcome in (None, "unknown")  # it was not stopped
    assert (await alice.wait(sleeping, timeout=60)).outcome in ("cancelled", "unknown")
