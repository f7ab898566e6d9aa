"""Second decisions after the clock of NATS was set back: times in the record do not tell what came first."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.policy.publishing import document, publish, publishable
from tests.policy.replica import Asking
from tests.policy.second_decisions import checker, recorded

RESTARTS = {"name": "restarts", "operations": ["service_restart"], "allowed": True}
HOUR = 3_600.0


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as known:
        yield known


async def test_a_control_event_behind_the_decision_in_the_journal_is_none_that_it_missed(
    asking: Asking, tmp_path: Path
) -> None:
    asking.clock.now += HOUR
    about = asking.subject()
    record = await recorded(asking, about, await asking.decision(about))
    asking.clock.now -= HOUR
    await asking.control("stop_set", {"scope": ["*"], "reason": "x"})
    asking.clock.now += HOUR
    found = await checker(asking, tmp_path).check(record)
    assert found is not None
    assert found.comparison.result == "same", found.text


async def test_a_decision_stays_open_until_the_clock_has_passed_the_version_again(
    asking: Asking, tmp_path: Path
) -> None:
    """A version of the policy was published while the clock was an hour ahead of what it shows now."""
    at = await publish(asking, document(RESTARTS))
    asking.clock.now -= HOUR
    about = asking.subject()
    record = await recorded(asking, about, await asking.decision(about, control_sequence=at))
    again = checker(asking, tmp_path)
    early = await again.check(record)
    assert early is not None
    assert early.comparison.result == "open", early.text
    assert early.comparison.why.startswith("the clock of NATS was set back")
    asking.clock.now += HOUR
    about = asking.subject()
    late = await again.check(await recorded(asking, about, await asking.decision(about, control_sequence=at)))
    assert late is not None
    assert late.comparison.result == "same", late.text
