"""The key of a session goes into the configuration of NATS, and any principal may open sessions: none may spoil it."""

import base64

import pytest
from tests.e2e.stolen_keys import holding

from writ_client.client import Writ
from writ_contracts.requests import RequestReply
from writ_testing.installations.installation import RunningInstallation
from writ_trust.keys import Key, generate_seed

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVICES = ("policy", "executor", "audit", "keeper", "status")


def damaged(key: str) -> str:
    """Return a key of the right form whose check sum is wrong."""
    raw = bytearray(base64.b32decode(key))
    raw[-1] ^= 1
    return base64.b32encode(bytes(raw)).decode()


async def request(writ: Writ, operation: str, **parameters: object) -> RequestReply:
    return await writ.submit(operation, "writ", parameters, reason="an attack")


async def test_key_with_a_wrong_check_sum_is_refused_and_revocations_go_on(
    installation: RunningInstallation, alice: Writ
) -> None:
    """NATS refused its whole configuration for it: nobody could be shut out any more, and no restart succeeded."""
    new, bad = Key(generate_seed()).public, damaged(Key(generate_seed()).public)
    for answer in (
        await request(alice, "session_open", key=bad, seconds=600),
        await request(alice, "principal_manage", action="rotate", principal_id="bob", key=bad),
        await request(alice, "principal_manage", action="add", principal_id="eve", kind="human", key=bad),
    ):
        assert answer.outcome == "invalid", answer
        assert answer.error is not None
        assert (answer.error.code, "check sum" in answer.error.message) == ("invalid_parameters", True), answer.error
    assert (await alice.run("session_open", "writ", {"key": new, "seconds": 600})).outcome == "succeeded"
    assert "could not be applied" not in (await installation.writ("status")).out


async def test_key_of_a_service_gives_a_session_nothing_and_the_service_keeps_its_rights(
    installation: RunningInstallation, alice: Writ
) -> None:
    for name in SERVICES[:3]:
        await alice.run("session_open", "writ", {"key": installation.home.key(name).public, "seconds": 600})
    for name in SERVICES:
        async with holding(installation, name):
            pass
    async with holding(installation, "executor") as executor:
        assert await executor.journal.last("writ.journal.>") is not None
    assert (await alice.run("test_noop", "web-1")).outcome == "succeeded"
