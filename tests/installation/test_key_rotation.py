"""The steps of a rotation in the files: each can be interrupted, and the next call continues."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.installation.rotated_keys import AGENT, LINK, create, keys, listed, states
from tests.installation.stand_in_installations import up

from writ_bus.errors import Forbidden
from writ_bus.nats.options import Options
from writ_bus.nats.tls import TlsOptions
from writ_client.context import Context, open_bus
from writ_contracts.errors import ConfigError, Conflict, Invalid, TimedOut, Unreachable
from writ_documents.readers import read_agents
from writ_installation.administration import key_steps
from writ_installation.administration.key_list import list_keys
from writ_installation.administration.key_rotation import (
    LastRecords,
    RotationStep,
    announce,
    pending,
    pools_elsewhere,
    retire,
    switch,
)
from writ_installation.administration.key_steps import followed, rotate
from writ_installation.administration.remote_agent_keys import keys_elsewhere, retire_elsewhere
from writ_installation.files import list_edits
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.keyring import key_digests
from writ_installation.files.lock import held
from writ_installation.files.parameter_keys import id_in_use
from writ_installation.nats.leaf_sites import read_leaves
from writ_installation.nats.server import plan
from writ_installation.processes.report import InstallationReport, write_report
from writ_installation.provisioner import folders
from writ_installation.server_access.server_address import ServerAddress
from writ_installation.server_access.server_tls import set_up
from writ_trust.keys import Key, generate_seed


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create(tmp_path / "home")


def used(home: Home, name: str) -> str:
    return id_in_use(home.params_key) if name == "params" else home.key(name).public


class Killed(Exception):
    """Raised in place of a process's death."""


def kill(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize("name", ["policy", "params", AGENT, LINK])
@pytest.mark.parametrize("call", range(1, 5))
async def test_a_rotation_that_is_killed_before_it_saves_goes_on(
    home: Home, name: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, ends = used(home, name), LastRecords(event=5, version=1)
    steps: list[Callable[[Home, str], RotationStep]] = [announce, switch, lambda at, key: retire(at, key, ends)]
    for number, step in enumerate(steps, 1):
        if number == call:
            with monkeypatch.context() as patched:
                patched.setattr("writ_installation.administration.key_rotation.save_keys", kill)
                with pytest.raises(Killed):
                    step(home, name)
        step(home, name)
    new = used(home, name)
    assert new != old
    assert pending(home, name) == "announced"
    assert home.keyring().live(name) == [new]
    if name == "policy":
        assert home.policy_keys()[old] == 5
    elif name == AGENT:
        assert [agent.key for agent in read_agents(home.agents).agents] == [new]
    elif name == LINK:
        assert [leaf.key for leaf in read_leaves(home.leaves).leaves] == [new]  # type: ignore[union-attr]
    assert {one.public: one.state for one in list_keys(home) if one.name == name} == {old: "former", new: "current"}
    assert not list(home.keys.glob("*.next.seed"))


async def test_a_key_that_is_unknown_or_being_rotated_is_refused(home: Home) -> None:
    with pytest.raises(Invalid, match=r"^no key 'nobody' is here; `writ keys list` lists them$"):
        announce(home, "nobody")
    for name, meant in {"operator": "principal-operator", "polcy": "policy"}.items():
        with pytest.raises(Invalid, match=rf"; did you mean '{meant}'\?$"):
            announce(home, name)
    announce(home, "audit")
    with pytest.raises(Conflict):
        announce(home, "audit")
    with pytest.raises(Conflict):
        retire(home, "audit", LastRecords())
    home.keys.joinpath("audit.next.seed").write_bytes(home.key("policy").seed)
    with pytest.raises(Conflict, match="does not hold the announced key"):
        switch(home, "audit")


async def test_a_stopped_installation_takes_all_steps_at_once_and_trusts_one_key_then(home: Home) -> None:
    old, steps = home.public("executor"), []
    await rotate(home, "executor", lambda made: steps.append(made.step))
    assert steps == ["announced", "switched", "retired"]
    assert home.keys_of("executor") == [home.public("executor")] != [old]


@pytest.mark.parametrize("name", ["executor", "policy", AGENT])
async def test_older_copy_of_a_rotated_key_gives_no_access_and_starts_nothing(home: Home, name: str) -> None:
    """Somebody puts a file of a backup back."""
    seed, old = home.seed_file(name), home.public(name)
    former = seed.read_bytes()
    announce(home, name)
    switch(home, name)
    retire(home, name, LastRecords(event=5, version=1))
    new, present = home.public(name), seed.read_bytes()
    seed.write_bytes(former)
    assert (home.public(name), home.keys_of(name)) == (old, [new])
    with pytest.raises(
        ConfigError, match=rf"{seed}: this key was rotated away on .* back, {new}\. If it is lost, see \S+$"
    ):
        create_installation(home)
    seed.write_bytes(present)
    create_installation(home)


async def test_older_list_of_agents_gives_a_rotated_key_no_access_to_nats(home: Home) -> None:
    pool, old = AGENT.removeprefix("agent-"), home.public(AGENT)
    await rotate(home, AGENT, lambda _: None)
    list_edits.append(home.agents, "agents", {"pool": pool, "key": old}, unique="key")
    address = ServerAddress(host="127.0.0.1", port=1, monitor_port=2)
    assert plan(home, address).pools[pool] == [home.public(AGENT)]


async def test_running_installation_keeps_its_processes_if_an_older_copy_of_a_key_is_put_back(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        old = one.home.key("executor")
        file, former = one.home.seed_file("executor"), one.home.seed_file("executor").read_bytes()
        await rotate(one.home, "executor", lambda _: None)
        await one.until(lambda: "executor has its new key" in one.printed)
        await one.until(lambda: one.pid("executor"))
        running = one.pid("executor")
        file.write_bytes(former)
        list_edits.append(one.home.principals, "principals", person("carol"), unique="id")
        await one.until(lambda: "this key was rotated away" in one.report.problem)
        assert one.pid("executor") == running
        with pytest.raises(Forbidden):
            await open_bus(Context(principal="executor", url=one.report.url), old.seed, wait=10)


def person(name: str) -> dict[str, object]:
    return {"id": name, "kind": "human", "roles": ["operator"], "key": Key(generate_seed()).public}


async def test_policys_key_is_not_switched_while_hosts_elsewhere_know_the_old_one_alone(home: Home) -> None:
    elsewhere = {"pool": "ssh", "key": Key(generate_seed()).public}
    list_edits.append(home.agents, "agents", elsewhere, unique="key")
    assert pools_elsewhere(home) == ["ssh"]
    with pytest.raises(Invalid, match="--hosts-ready"):
        await rotate(home, "policy", lambda _: None)
    assert pending(home, "policy") == "switched"


async def test_a_running_installation_follows_with_a_second_replica_meanwhile(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        old, before = one.home.key("executor"), one.pid("executor")
        await rotate(one.home, "executor", lambda _: None)
        await one.until(lambda: one.pid("executor") not in (None, before))
        order = [line.split()[0] for line in (one.home.run / "order").read_text().splitlines()]
        assert order == ["executor", "executor"]  # the old one, and the replica once the new one was ready
        assert (one.home.log / "executor.meanwhile.log").exists()
        with pytest.raises(Forbidden):
            await open_bus(Context(principal="executor", url=one.report.url), old.seed, wait=10)
        await (
            await open_bus(Context(principal="executor", url=one.report.url), one.home.key("executor").seed, wait=10)
        ).close()


async def test_end_of_a_former_key_is_read_over_tls_by_the_installation_s_own_ca(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(home, "required", ["localhost"], time.time())
    used: list[Options] = []

    async def connect(options: Options) -> None:
        used.append(options)
        raise Unreachable("far enough")

    monkeypatch.delenv("NATS_URL", raising=False)
    monkeypatch.setattr(key_steps, "connect", connect)
    monkeypatch.setattr(key_steps, "running_url", lambda _: "tls://127.0.0.1:4222")
    announce(home, "policy")
    switch(home, "policy")
    with pytest.raises(Unreachable):
        await rotate(home, "policy", lambda _: None, settle=0.0)
    assert [one.tls for one in used] == [TlsOptions(ca=str(home.ca_file))]


async def test_a_retired_key_counts_until_the_list_of_agents_is_in_force_too(home: Home) -> None:
    """`retire_elsewhere` changes the keyring, then the list; a supervisor may apply the first change by itself."""
    write_report(home.report_file, _report(home))
    with held(home.lock, "a stand-in of `writ up` runs in"):
        await followed(home, within=60.0)
        (agent, *_) = read_agents(home.agents).agents
        list_edits.replace(home.agents, "agents", None, unique="key", value=agent.key)
        with pytest.raises(TimedOut, match="the keys are not in force after"):
            await followed(home, within=0.2)
        write_report(home.report_file, _report(home))
        await followed(home, within=60.0)


def _report(home: Home) -> InstallationReport:
    return InstallationReport(
        pid=os.getpid(), state="ready", url="nats://127.0.0.1:1", started_at=0.0, **key_digests(home)._asdict()
    )


async def test_policys_key_is_not_switched_in_containers_before_their_agents_are_said_to_trust_it(
    tmp_path: Path,
) -> None:
    """Agents in containers have policy's key in `.env` alone, although their own keys are in the folder."""
    home = folders.init(tmp_path / ".writ", 1)
    await rotate(home, "policy", lambda _: None)
    assert pending(home, "policy") == "switched"
    with pytest.raises(Invalid, match=r"run `init` again.* --hosts-ready"):
        await rotate(home, "policy", lambda _: None)
    assert folders.environment(home)["WRIT_POLICY_KEY"] == ",".join(home.keys_of("policy"))
    assert len(home.keys_of("policy")) == 2
    await rotate(home, "policy", lambda _: None, hosts_ready=True)
    assert pending(home, "policy") == "retired"


async def test_rotation_of_policys_key_in_containers_names_each_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folders.init(tmp_path / ".writ", 1)

    async def ends(*_: object) -> LastRecords:
        return LastRecords(event=5, version=1)

    monkeypatch.setattr(key_steps, "_ends", ends)
    _, printed = await keys(home, "rotate", "policy")
    value = f"WRIT_POLICY_KEY={','.join(home.keys_of('policy'))}"
    assert value.count("U") >= 2
    assert "next: agents must trust" in printed
    assert f"On agents elsewhere set {value}" in printed
    status, printed = await keys(home, "rotate", "policy")
    assert (status, f"On agents elsewhere set {value}" in printed) == (2, True)
    _, printed = await keys(home, "rotate", "policy", "--hosts-ready")
    assert "next: start the processes of policy again" in printed
    _, printed = await keys(home, "rotate", "policy")
    assert "next: run `init` again, then `docker compose up --detach --wait`" in printed


async def test_rotation_prints_one_document_for_programs(tmp_path: Path) -> None:
    home = folders.init(tmp_path / ".writ", 1)
    _, printed = await keys(home, "rotate", "executor", "-o", "json")
    assert json.loads(printed)["step"] == "announced"


async def test_rotation_of_a_pools_key_here_leaves_those_of_its_other_hosts(home: Home) -> None:
    pool, first, elsewhere = AGENT.removeprefix("agent-"), Key(generate_seed()).public, Key(generate_seed()).public
    for key in (first, elsewhere):
        list_edits.append(home.agents, "agents", {"pool": pool, "key": key}, unique="key")
    retire_elsewhere(home, AGENT, first, elsewhere)
    assert keys_elsewhere(home, AGENT) == [elsewhere]
    assert pools_elsewhere(home) == [pool]
    old = home.public(AGENT)
    await rotate(home, AGENT, lambda _: None)
    assert listed(home, AGENT) == [elsewhere, home.public(AGENT)]
    assert (elsewhere, "current") in states(home, AGENT)
    assert (old, "former") in states(home, AGENT)


def test_interrupted_switch_retires_the_key_here_although_another_host_has_a_newer_one(home: Home) -> None:
    pool, first, elsewhere = AGENT.removeprefix("agent-"), Key(generate_seed()).public, Key(generate_seed()).public
    for key in (first, elsewhere):
        list_edits.append(home.agents, "agents", {"pool": pool, "key": key}, unique="key")
    old = announce(home, AGENT).old
    retire_elsewhere(home, AGENT, first, elsewhere)
    (home.keys / f"{AGENT}.next.seed").replace(home.seed_file(AGENT))  # by the switch, which then was killed
    assert switch(home, AGENT).old == old
    retire(home, AGENT, LastRecords())
    assert listed(home, AGENT) == [elsewhere, home.public(AGENT)]
