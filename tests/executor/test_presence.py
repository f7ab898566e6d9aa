"""Heartbeats are unsigned: a stolen key of a pool fills neither the memory nor another pool's place."""

from writ_contracts.agents import Heartbeat
from writ_contracts.ids import operation_id
from writ_executor.agents.presence import MOST_INSTANCES, MOST_RUNNING, AgentPresence, other_policy_keys


def beat(pool: str, instance: str, *running: str) -> Heartbeat:
    return Heartbeat(pool=pool, instance=instance, running=list(running), free_slots=1, operations=[], version="1")


def test_instances_of_a_pool_are_bounded_and_known_ones_stay() -> None:
    presence = AgentPresence(lease=15.0, clock=lambda: 100.0)
    presence.record(beat("local", "honest"))
    for n in range(MOST_INSTANCES + 50):
        presence.record(beat("local", f"ghost-{n}"))
    presence.record(beat("ssh", "other"))
    presence.record(beat("local", "honest"))
    names = {one.instance for one in presence.agents("local")}
    assert len(names) == MOST_INSTANCES
    assert "honest" in names
    assert [one.instance for one in presence.agents("ssh")] == ["other"]


def test_running_operations_of_a_pool_are_bounded_and_granted_ones_stay() -> None:
    now = [100.0]
    presence = AgentPresence(lease=15.0, clock=lambda: now[0])
    mine = operation_id("alice", "mine")
    presence.start_lease("local", mine)
    made_up = [operation_id("mallory", str(n)) for n in range(MOST_RUNNING + 1000)]
    for at in range(0, len(made_up), 4000):
        presence.record(beat("local", "ghost", *made_up[at : at + 4000]))
    now[0] += 10.0
    presence.record(beat("local", "honest", mine))
    now[0] += 5.0
    assert presence.silence("local", mine) == 5.0
    assert presence.silence("local", made_up[0]) == 15.0
    assert presence.silence("local", made_up[-1]) == 15.0  # since the replica listens: it was not recorded
    assert sum(len(named) for named in presence._running.values()) <= MOST_RUNNING


def test_agents_with_other_keys_of_policy_are_named() -> None:
    def agent(*trusts: str) -> Heartbeat:
        return Heartbeat(
            pool="a", instance="one", running=[], free_slots=1, operations=[], version="1", trusts=list(trusts)
        )

    new, old = "U" + "N" * 55, "U" + "O" * 55
    assert other_policy_keys([agent(new), agent()], [new]) == []
    assert other_policy_keys([agent(new, old)], [new]) == ["one of pool a still trusts UOOOOOOOOOOO"]
    assert other_policy_keys([agent(old)], [new]) == [
        "one of pool a still trusts UOOOOOOOOOOO and does not know UNNNNNNNNNNN"
    ]
