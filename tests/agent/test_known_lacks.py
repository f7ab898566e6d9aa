"""An agent remembers what its target tests found that hosts lack, within bounds, and names it in its heartbeats."""

import itertools

from tests.agent.conftest import POOL, TARGET, World
from tests.agent.test_target_tests import found

from writ_agent.backends.port import Failing, TargetTestResult
from writ_agent.preflight.known_lacks import MOST_BYTES, KnownLacks
from writ_contracts.agents import Heartbeat
from writ_contracts.inventory import Target
from writ_contracts.target_tests import KNOWN_SECONDS, MOST_LACKS, MOST_SURVEYED
from writ_contracts.wire import encode
from writ_trust.digests import entry_digest

NO_RESTIC = Failing("tool_missing", "restic is not installed on this host", dry_run=True)


def target(name: str) -> Target:
    return Target(id=name, role="testing", backend="fake", agent=POOL)


async def test_heartbeat_after_a_target_test_names_what_the_host_lacks_until_the_next_test(world: World) -> None:
    await world.agent()
    world.backend.found = TargetTestResult(fails={"test_noop": NO_RESTIC, "test_count": NO_RESTIC})
    await found(world)

    def latest() -> Heartbeat:
        return world.executor.heartbeats[-1]

    await world.executor.until(lambda: bool(latest().tested))
    (lack,), (test,) = latest().lacks, latest().tested
    assert (lack.code, lack.message, lack.operations) == (
        "tool_missing",
        NO_RESTIC.message,
        ["test_count", "test_noop"],
    )
    assert lack.dry_run
    assert (test.target, test.entry, test.lacks) == (TARGET.id, entry_digest(TARGET), [0])
    world.backend.found = TargetTestResult(code="unreachable", message="nobody answers")
    await found(world)  # nothing was learned of the host
    world.backend.found = TargetTestResult()
    await found(world)
    await world.executor.until(lambda: not latest().lacks)
    assert [(one.target, one.lacks) for one in latest().tested] == [(TARGET.id, [])]


def test_lacks_that_several_hosts_share_are_sent_once() -> None:
    known = KnownLacks(lambda: 100.0)
    for number in range(3):
        known.record(target(f"host-{number}"), {"test_noop": NO_RESTIC})
    lacks, tested = known.shown()
    assert (len(lacks), [(one.target, one.lacks) for one in tested]) == (
        1,
        [("host-2", [0]), ("host-1", [0]), ("host-0", [0])],
    )


def test_findings_are_forgotten_after_a_while() -> None:
    now = [100.0]
    known = KnownLacks(lambda: now[0])
    known.record(TARGET, {"test_noop": NO_RESTIC})
    now[0] += KNOWN_SECONDS
    assert [one.age for one in known.shown()[1]] == [KNOWN_SECONDS]
    now[0] += 1
    assert known.shown() == ([], [])


def test_lacks_in_a_heartbeat_are_bounded_and_the_latest_tests_stay() -> None:
    known, numbers = KnownLacks(lambda: 100.0), itertools.count()
    for number in range(MOST_SURVEYED + 50):
        fails = {f"test_{next(numbers)}": Failing("tool_missing", f"{number} {'x' * 1500}") for _ in range(2)}
        known.record(target(f"host-{number}"), fails)
    lacks, tested = known.shown()
    assert tested[0].target == f"host-{MOST_SURVEYED + 49}"
    assert 5 < len(tested) <= MOST_SURVEYED
    assert sum(len(encode(one)) for one in (*lacks, *tested)) <= MOST_BYTES
    for number in range(MOST_SURVEYED + 50):
        known.record(target(f"host-{number}"), {f"test_{n}": Failing("x", f"{number} {n}") for n in range(3)})
    lacks, tested = known.shown()
    assert len(lacks) <= MOST_LACKS
    assert all(place < len(lacks) for one in tested for place in one.lacks)
    assert sum(len(encode(one)) for one in (*lacks, *tested)) <= MOST_BYTES
