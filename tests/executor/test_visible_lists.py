"""Lists of targets while policy is silent."""

from collections.abc import Sequence

import pytest

from writ_bus.errors import TimedOut
from writ_contracts.errors import Unreachable
from writ_contracts.policy.listing import VisibleReply
from writ_contracts.requests import TargetView
from writ_executor.requests import visible


class SilentPolicy:
    """A policy without answers; `waited` has the given seconds."""

    def __init__(self) -> None:
        self.waited = list[float]()

    async def visible(self, principal: str, key: str, targets: Sequence[str], timeout: float = 4.0) -> VisibleReply:
        self.waited.append(timeout)
        raise TimedOut("no answer")


async def test_list_is_refused_with_the_reason_within_two_seconds() -> None:
    policy = SilentPolicy()
    views = iter([TargetView(id="web", role="testing", backend="local", pool="local", agents=1, operations=[])])
    with pytest.raises(Unreachable, match="see `writ status`") as refused:
        await visible.TargetVisibility(policy).first_page("alice", "U", views)  # type: ignore[arg-type]
    assert refused.value.code == "policy_silent"
    assert policy.waited == [visible.LISTING_SECONDS]
    assert visible.LISTING_SECONDS < 2
