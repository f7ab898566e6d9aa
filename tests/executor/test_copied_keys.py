"""A copy of an agent's key shows as a second process with the key; a restart does not."""

from collections.abc import Coroutine, Mapping
from typing import Any, cast

import pytest

from writ_contracts.agents import STARTED_HEADER, Heartbeat, named_start
from writ_contracts.errors import Full
from writ_executor.agents.alarms import SecurityEventRecorder
from writ_executor.agents.copied_keys import MOST_PROCESSES, CopiedKey, CopiedKeys, description
from writ_executor.agents.key_use import AgentKeyUse
from writ_executor.agents.keys import AgentKeys

LEASE, EVERY = 15.0, 5.0
KEY, BOUND = "U" + "A" * 55, {"U" + "A" * 55: "0" * 64}


class Heard:
    """The heartbeats that one executor receives, on a clock of the test."""

    def __init__(self, processes: int = 1, hosts: Mapping[str, str] = BOUND) -> None:
        self.now = 100.0
        self.copies = CopiedKeys(LEASE, lambda: self.now, processes)
        self.hosts = hosts
        self.found: list[CopiedKey] = []

    def beat(self, instance: str, started: float = 1.0, *, leaving: bool = False, key: str = KEY) -> None:
        beat = Heartbeat(
            pool="a",
            instance=instance,
            running=[],
            free_slots=1,
            operations=[],
            version="1",
            leaving=leaving,
            started=started,
        )
        self._take(self.copies.heard(beat, key, self.hosts))

    def claim(self, instance: str, started: float = 1.0) -> None:
        self._take(self.copies.claimed("a", instance, started, KEY, self.hosts))

    def seconds(self, seconds: float, *instances: str) -> None:
        """Let these instances send heartbeats for so long."""
        for _ in range(int(seconds / EVERY)):
            self.now += EVERY
            for instance in instances:
                self.beat(instance)

    def _take(self, copied: CopiedKey | None) -> None:
        self.found += [copied] if copied is not None else []


def test_two_processes_by_a_key_of_one_host_are_a_copy_after_a_lease() -> None:
    heard = Heard(processes=0)
    heard.seconds(60, "honest")
    heard.seconds(15, "honest", "thief")
    assert heard.found == []
    heard.seconds(5, "honest", "thief")
    [copied] = heard.found
    assert (copied.pool, copied.key, copied.instances) == ("a", KEY, ("honest", "thief"))
    assert "was it copied?" in description(copied)
    heard.seconds(120, "honest", "thief")
    assert len(heard.found) == 1, "it is recorded once in ten minutes"
    heard.seconds(600, "honest", "thief")
    assert len(heard.found) == 2


def test_a_thief_who_claims_once_and_sends_no_heartbeat_is_found() -> None:
    heard = Heard()
    heard.seconds(60, "honest")
    heard.claim("thief")
    heard.seconds(15, "honest")
    assert [copied.instances for copied in heard.found] == [("honest", "thief")]


def test_copied_key_is_found_although_its_process_announces_its_end() -> None:
    heard = Heard()
    heard.seconds(60, "honest")
    heard.claim("thief")
    heard.beat("thief", leaving=True)
    heard.seconds(15, "honest")
    assert len(heard.found) == 1


@pytest.mark.parametrize("dying", [0, 5, 10])
def test_a_restart_is_no_copy(dying: float) -> None:
    heard = Heard()
    heard.seconds(60, "before")
    heard.beat("after")
    heard.seconds(dying, "before", "after")
    heard.beat("before", leaving=True)
    heard.seconds(300, "after")
    assert heard.found == []
    assert heard.copies.present() == []


def test_the_last_heartbeat_of_a_dead_process_at_the_start_of_an_executor_is_no_copy() -> None:
    heard = Heard()
    heard.beat("after")
    heard.beat("before")
    heard.seconds(300, "after")
    assert heard.found == []


def test_replicas_may_share_a_key_that_is_bound_to_no_host_up_to_their_number() -> None:
    for processes, expected in ((0, 0), (2, 0), (1, 1)):
        heard = Heard(processes, hosts={})
        heard.seconds(60, "one", "two")
        assert len(heard.found) == expected, processes
    heard = Heard(2, hosts={})
    heard.seconds(60, "one", "two")
    heard.seconds(60, "one", "two", "thief")
    assert [copied.instances for copied in heard.found] == [("one", "thief", "two")]


def test_replicas_that_restart_one_after_the_other_are_no_copy() -> None:
    heard = Heard(2, hosts={})
    heard.seconds(60, "one", "two")
    heard.seconds(10, "one", "two", "three")
    heard.seconds(60, "two", "three")
    heard.seconds(10, "two", "three", "four")
    heard.seconds(60, "three", "four")
    assert heard.found == []


def test_one_instance_with_two_starts_is_a_copy_whatever_the_number_of_replicas() -> None:
    heard = Heard(0, hosts={})
    for number in range(12):
        heard.now += EVERY
        heard.beat("one", started=1.0)
        if number > 4:
            heard.beat("one", started=2.0)
    assert [(copied.instances, copied.why) for copied in heard.found] == [(("one",), "one instance has two starts")]


def test_a_heartbeat_without_a_start_by_a_copied_instance_id_is_a_copy() -> None:
    """The instance id is in the record; the start is not."""
    heard = Heard(0, hosts={})
    heard.seconds(60, "honest")
    heard.claim("honest")
    heard.beat("honest", started=0.0)
    heard.seconds(15, "honest")
    assert [(one.instances, one.why) for one in heard.found] == [(("honest",), "one instance has two starts")]


@pytest.mark.parametrize("claims_first", [True, False])
@pytest.mark.parametrize("started", [0.0, 2.0])
def test_a_claim_with_a_copied_instance_id_and_no_heartbeat_is_a_copy(claims_first: bool, started: float) -> None:
    """The honest agent names its start in each claim, so a claim without it is foreign."""
    heard = Heard(0, hosts={})
    heard.seconds(60, "honest")
    if claims_first:
        heard.claim("honest", 1.0)
    heard.claim("honest", started)
    heard.claim("honest", 1.0)
    heard.seconds(15, "honest")
    assert [(one.instances, one.why) for one in heard.found] == [(("honest",), "one instance has two starts")]


def test_claims_that_name_the_start_of_the_heartbeats_are_no_copy() -> None:
    heard = Heard()
    for _ in range(12):
        heard.claim("one", 1.0)
        heard.seconds(10, "one")
    heard.beat("one", leaving=True)
    for _ in range(12):
        heard.claim("two", 1.0)
        heard.seconds(10, "two")
    assert heard.found == []


@pytest.mark.parametrize(
    ("headers", "started"),
    [({}, 0.0), ({STARTED_HEADER: "1.5"}, 1.5), ({STARTED_HEADER: "x"}, 0.0), ({STARTED_HEADER: "nan"}, 0.0)],
)
def test_start_that_a_claims_message_names_is_read(headers: dict[str, str], started: float) -> None:
    assert named_start(headers) == started


def test_a_claim_and_the_heartbeats_of_one_process_are_one() -> None:
    heard = Heard()
    heard.claim("one")
    heard.seconds(60, "one")
    heard.claim("one")
    assert heard.found == []


def test_processes_that_a_thief_makes_up_are_bounded_and_the_honest_one_stays() -> None:
    heard = Heard()
    heard.seconds(60, "honest")
    for number in range(MOST_PROCESSES + 50):
        heard.beat(f"ghost-{number}")
    heard.seconds(30, "honest")
    assert len(heard.found) == 1
    assert len(heard.copies._heard[KEY]) <= MOST_PROCESSES
    heard.now += 3_600
    assert heard.copies.present() == []


class FullOnce:
    """Record alarms, but not the first one."""

    def __init__(self) -> None:
        self.tried = 0
        self.recorded: list[str] = []

    async def raised(self, pool: str, kind: str, detail: str) -> None:
        self.tried += 1
        if self.tried == 1:
            raise Full("too many at once", code="rate_limited")
        self.recorded.append(detail)


class KeysOfOnePool:
    """The keys of a pool with one key."""

    hosts = BOUND

    async def of(self, pool: str) -> frozenset[str]:
        return frozenset({KEY})


async def test_a_copy_that_could_not_be_recorded_is_recorded_at_the_next_message() -> None:
    heard, alarms = Heard(), FullOnce()
    begun: list[Coroutine[Any, Any, object]] = []
    use = AgentKeyUse(
        heard.copies,
        cast(AgentKeys, KeysOfOnePool()),
        cast(SecurityEventRecorder, alarms),
        lambda _, work: begun.append(work),
    )
    for instance in ("honest", "thief", "honest", "thief", "honest", "thief"):
        heard.now += LEASE / 2
        await use.claim("a", instance, 1.0, KEY)
    with pytest.raises(Full):
        await begun.pop()
    assert begun == [], "it is not recorded again meanwhile"
    heard.now += EVERY
    await use.claim("a", "honest", 1.0, KEY)
    await begun.pop()
    assert len(alarms.recorded) == 1
    heard.now += EVERY
    await use.claim("a", "honest", 1.0, KEY)
    assert begun == []
