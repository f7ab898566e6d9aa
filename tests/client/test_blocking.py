"""A client without an event loop of its own."""

import pytest

from writ_client.blocking import BlockingWrit
from writ_client.client import Writ
from writ_testing.memory.bus import MemoryBus


async def connected() -> Writ:
    return Writ(MemoryBus(), None, "alice")


async def name_of(writ: Writ) -> str:
    return writ.principal


def test_call_outside_of_the_with_block_is_refused_and_does_not_hang() -> None:
    blocking = BlockingWrit(connected())
    with pytest.raises(RuntimeError, match="with"):
        blocking.wait_for(connected())
    with blocking:
        assert blocking.wait_for(name_of(blocking.api)) == "alice"
    with pytest.raises(RuntimeError, match="with"):
        blocking.wait_for(connected())
