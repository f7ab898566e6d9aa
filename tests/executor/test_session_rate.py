"""NATS is reloaded for each new session, which delays others: a principal may open only so many."""

from tests.executor.conftest import World

from writ_contracts.requests import Failure
from writ_trust.keys import Key, generate_seed

STATUS = {"parameters": {"service_name": "nginx"}}


async def test_sessions_of_a_principal_have_a_rate_of_their_own(world: World) -> None:
    await world.executor(session_rate=0.001, session_burst=2)

    async def opened(principal: str) -> Failure | None:
        parameters = {"key": Key(generate_seed()).public, "seconds": 60}
        return (await world.ask("session_open", principal, target="writ", parameters=parameters)).error

    assert [await opened("mallory") for _ in range(2)] == [None, None]
    refused = await opened("mallory")
    assert refused is not None
    assert (refused.code, refused.retry) == ("rate_limited", True)
    assert "more than 2 sessions at once, and more than one in 1000 s" in refused.message
    assert await opened("alice") is None
    assert (await world.ask("service_status", "mallory", **STATUS)).error is None
