"""Inventory and agents as an executor knows them: at each request, claim and receipt as the files have them then."""

from pathlib import Path

import pytest

from writ_contracts.agents import Heartbeat
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_executor.agents.host_lacks import HostLacks
from writ_executor.agents.keys import AgentKeys
from writ_executor.agents.presence import AgentPresence
from writ_executor.agents.targets import Targets
from writ_runtime.clocks import boot_time
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.list_reader.lists import AGENTS, TARGETS, ListReader

KEY, OTHER = "U" + "A" * 55, "U" + "B" * 55


def targets(path: Path) -> Targets:
    presence = AgentPresence(lease=30.0, clock=boot_time)
    file = WatchedFile(path, ListReader(TARGETS))
    return Targets(file, Catalogue(BUILT_IN), presence, HostLacks(presence, boot_time))


async def test_target_follows_changes_of_its_inventory_entry(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("targets: [{id: web-1, role: production, backend: ssh}]")
    known = targets(path)
    assert (await known.find("web-1")).pool == "ssh"
    path.write_text("targets: [{id: web-1, role: production, backend: ssh, agent: ssh-eu}]")
    assert (await known.find("web-1")).pool == "ssh-eu"
    path.write_text("targets: [{id: web-2, role: production, backend: ssh}]")
    assert (await known.find("web-2")).pool == "ssh"
    with pytest.raises(Invalid, match="there is no target 'web-1'"):
        await known.find("web-1")


def many(role: str, *more: str) -> str:
    entries = [f"  - {{id: {name}, role: {role}, backend: ssh}}\n" for name in ("web-1", *more)]
    rest = [f"  - {{id: other-{number}, role: staging, backend: ssh}}\n" for number in range(2_000)]
    return "targets:\n" + "".join([*entries, *rest])


async def test_requests_go_on_while_a_large_inventory_is_read(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(many("production"))
    known = targets(path)
    former = await known.find("web-1")
    path.write_text(many("staging", "web-2"))
    assert await known.find("web-1") == former  # not waited for
    assert (await known.find("web-2")).role == "staging"  # a target that is not known is
    assert (await known.find("web-1")).role == "staging"
    assert await known.is_granted("web-1", former)  # policy may have decided before it read the edit
    assert await known.is_granted("web-1", await known.find("web-1"))
    assert not await known.is_granted("web-2", former)


async def test_a_grant_for_a_former_entry_counts_for_moments_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("targets: [{id: web-1, role: production, backend: ssh}]")
    known = targets(path)
    former = await known.find("web-1")
    path.write_text("targets: [{id: web-1, role: staging, backend: ssh}]")
    assert await known.is_granted("web-1", former)
    monkeypatch.setattr("writ_executor.agents.targets.SETTLING", 0.0)
    assert not await known.is_granted("web-1", former)


async def test_nobody_is_refused_by_the_agents_of_a_pool_that_a_target_has_left(tmp_path: Path) -> None:
    path, catalogue, presence = (
        tmp_path / "inventory.yaml",
        Catalogue(BUILT_IN),
        AgentPresence(lease=30.0, clock=boot_time),
    )
    path.write_text("targets: [{id: web-1, role: production, backend: ssh}]")
    known = Targets(WatchedFile(path, ListReader(TARGETS)), catalogue, presence, HostLacks(presence, boot_time))
    for pool, operations in (("ssh", ["service_status"]), ("ssh-eu", ["service_restart"])):
        beat = Heartbeat(pool=pool, instance=pool, running=[], free_slots=1, operations=operations, version="1")
        presence.record(beat)
    with pytest.raises(Invalid, match="no agent of pool ssh offers service_restart"):
        await known.require("web-1", catalogue["service_restart"])
    path.write_text("targets: [{id: web-1, role: production, backend: ssh, agent: ssh-eu}]")
    await known.require("web-1", catalogue["service_restart"])
    with pytest.raises(Invalid, match="no agent of pool ssh-eu offers service_status"):
        await known.require("web-1", catalogue["service_status"])


async def test_a_file_that_cannot_be_used_leaves_the_targets_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("targets: [{id: web-1, role: production, backend: ssh}]")
    known = targets(path)
    path.write_text("targets: [")
    known.begin_refresh()
    assert (await known.find("web-1")).pool == "ssh"


async def test_a_key_counts_from_the_next_claim_and_one_that_was_taken_away_does_not(tmp_path: Path) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(f"agents: [{{pool: ssh, key: {KEY}}}]")
    keys = AgentKeys(WatchedFile(path, ListReader(AGENTS)))
    assert await keys.of("ssh") == {KEY}
    path.write_text(f"agents: [{{pool: ssh, key: {KEY}}}, {{pool: ssh, key: {OTHER}}}]")
    assert await keys.of("ssh") == {KEY, OTHER}
    path.write_text(f"agents: [{{pool: ssh, key: {OTHER}}}]")
    assert await keys.of("ssh") == {OTHER}
    assert not await keys.of("docker")
