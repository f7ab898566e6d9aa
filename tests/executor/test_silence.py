"""An operation is silent after a lease without heartbeats of its pool, in time during which the executor listened."""

from msgspec import structs

from writ_contracts.agents import Heartbeat
from writ_executor.agents.presence import AgentPresence


def test_operation_without_heartbeats_is_forgotten_and_stays_silent() -> None:
    now = [100.0]
    presence = AgentPresence(lease=10.0, clock=lambda: now[0])
    for number in range(1000):
        presence.start_lease("a", f"op-{number}")
    for now[0] in (103.0, 106.0, 109.0, 112.0):
        presence.forget_silent()
    assert presence._running == {}
    assert presence.silence("a", "op-1") > 10.0


def test_a_replica_that_did_not_listen_for_a_while_calls_nobody_silent_for_a_lease() -> None:
    now = [100.0]
    presence = AgentPresence(lease=10.0, clock=lambda: now[0])
    presence.start_lease("a", "op-1")
    now[0] = 1_000.0
    presence.forget_silent()
    assert (presence.silence("a", "op-1"), presence.new) == (0.0, True)
    for now[0] in (1_003.0, 1_006.0, 1_009.0, 1_012.0):
        presence.forget_silent()
    assert presence.silence("a", "op-1") > 10.0


def test_time_in_which_a_replica_did_not_listen_counts_as_nobodys_silence() -> None:
    now = [100.0]
    presence = AgentPresence(lease=12.0, clock=lambda: now[0])
    presence.start_lease("a", "op-1")
    now[0] = 110.0  # it was stopped for most of that, and six seconds are counted less
    presence.forget_silent()
    assert presence.silence("a", "op-1") == 4.0
    for _ in range(10):  # on a machine that is busy all the time silence is noticed later, and noticed
        now[0] += 8.0
        presence.forget_silent()
    assert presence.silence("a", "op-1") > 12.0


def test_heartbeat_of_another_pool_keeps_nothing_alive() -> None:
    now = [100.0]
    presence = AgentPresence(lease=10.0, clock=lambda: now[0])
    presence.start_lease("a", "op-1")
    now[0] = 111.0
    beat = Heartbeat(pool="b", instance="i", running=["op-1"], free_slots=1, operations=[], version="1")
    presence.record(beat)
    assert (presence.silence("a", "op-1"), presence.silence("b", "op-1")) == (11.0, 0.0)
    presence.record(structs.replace(beat, pool="a"))
    assert presence.silence("a", "op-1") == 0.0
