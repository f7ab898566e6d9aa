"""Every reply of an agent to an executor has the agent's signature over the request's and the reply's bytes."""

import pytest
from tests.agent.conftest import POOL, World
from tests.agent.test_host_reads import ask

from writ_contracts import subjects
from writ_contracts.agents import SIGNATURE_HEADER, ProbeFinding, ReplyStatement
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_trust.digests import plain_digest
from writ_trust.statements import digest, open_signed


@pytest.mark.parametrize("request_of", ["a read", "a refused read", "a cancel"])
async def test_reply_is_signed_for_its_request_alone(world: World, request_of: str) -> None:
    await world.agent()
    await world.executor.until(lambda: bool(world.executor.heartbeats))
    beat = world.executor.heartbeats[-1]
    body = encode(ask(world, "preview")) if request_of == "a read" else b"{}"
    subject = subjects.cancel(POOL, beat.instance) if request_of == "a cancel" else subjects.host_read(POOL)
    reply = await world.executor.bus.request(subject, body, timeout=20)
    signed = decode(reply.headers[SIGNATURE_HEADER].encode(), Signed)
    statement = open_signed(signed, ReplyStatement, {world.key.public}, "")
    assert (statement.pool, statement.instance) == (POOL, beat.instance)
    assert (statement.request, statement.reply) == (plain_digest(body), plain_digest(reply.data))


async def test_reply_to_a_probe_has_a_signed_finding_for_the_record(world: World) -> None:
    await world.agent()
    probe = ask(world, "probe")
    reply = await world.executor.request_read(probe, POOL)
    assert reply.finding is not None
    finding = open_signed(reply.finding, ProbeFinding, {world.key.public}, "")
    assert (finding.verdict, finding.look_digest, finding.attempt) == ("no_effect", digest(probe.look), 1)
    assert (finding.operation, finding.target, finding.pool) == ("test_count", "host-1", POOL)
