"""Heartbeats are unsigned: a stolen key of a pool fills neither the memory nor another pool's place."""

from msgspec import structs

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


def test_made_up_instances_do_not_displace_an_agent_that_signs_its_replies() -> None:
    now = [100.0]
    presence = AgentPresence(lease=15.0, clock=lambda: now[0])
    presence.record(structs.replace(beat("local", "honest"), signs_replies=True))
    for n in range(MOST_INSTANCES + 50):
        made_up = structs.replace(beat("local", f"ghost-{n}"), signs_replies=True)
        presence.record(made_up)
        presence.record(structs.replace(made_up, leaving=True))
    presence.record(beat("local", "honest"))
    assert presence.signs_replies("local", "honest")
    now[0] += 16.0
    presence.record(structs.replace(beat("local", "next"), signs_replies=True))
    assert presence.signs_replies("local", "next")
    assert len(presence._signing["local"]) == MOST_INSTANCES


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
