"""Search digests confirm guesses of values that the journal does not have: audit alone gets them, and not many."""

import asyncio
import time
from itertools import count

import pytest
from tests.e2e.stolen_keys import holding

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.history.search_digests import SearchDigestsReply, SearchDigestsRequest, SoughtValue
from writ_contracts.wire import decode, encode
from writ_executor.requests.sought_values import TOTAL_BURST, TOTAL_RATE
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def replied(bus: Bus, name: str, value: str, principal: str = "alice") -> SearchDigestsReply:
    request = SearchDigestsRequest(principal=principal, values=[SoughtValue(name=name, value=value)])
    return decode((await bus.request(subjects.SEARCH_DIGESTS, encode(request), timeout=5)).data, SearchDigestsReply)


@pytest.mark.parametrize("key", ["principal-alice", "agent-a", "policy", "executor"])
async def test_no_other_key_than_audits_gets_search_digests(installation: RunningInstallation, key: str) -> None:
    async with holding(installation, key) as thief:
        with pytest.raises(Forbidden):
            await replied(thief, "file_path", "/srv/app")


async def test_audits_key_confirms_guesses_at_a_limited_rate_and_none_of_a_secret(
    installation: RunningInstallation,
) -> None:
    async with holding(installation, "audit") as thief:
        assert (await replied(thief, "file_path", "/srv/app")).digests
        refused = await replied(thief, "content", "pin 4711")
        assert refused.digests == []
        assert refused.error is not None
        assert refused.error.code == "invalid"
        began, confirmed, failures, numbers = time.monotonic(), 0, set[str](), count()
        while not failures:  # several at once: one after the other, a slow machine would not reach the limit
            names = [f"made-up-{next(numbers)}" for _ in range(50)]
            replies = await asyncio.gather(*(replied(thief, "file_path", f"/{name}", name) for name in names))
            confirmed += sum(bool(reply.digests) for reply in replies)
            failures |= {reply.error.code for reply in replies if reply.error}
        took = time.monotonic() - began
    assert failures == {"rate_limited"}
    assert confirmed <= TOTAL_BURST + TOTAL_RATE * took
