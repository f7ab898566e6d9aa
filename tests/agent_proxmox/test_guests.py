"""Guests are created, restored, moved and deleted as requested, and only within their target."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_proxmox.cluster import WEB, Cluster

from writ_agent_proxmox.connection.session import ApiSession
from writ_agent_proxmox.operations.movement import gibibytes
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_testing.peers.proxmox import ProxmoxFault


async def refused(cluster: Cluster, name: str, **parameters: Any) -> WritError:
    """Return the error of an operation; assert that it changed nothing."""
    with pytest.raises(WritError) as error:
        await cluster.done(name, **parameters)
    assert not any(method in ("POST", "PUT", "DELETE") for method, _, _ in cluster.server.pve.requests)
    return error.value


def scoped(cluster: Cluster, **scope: str) -> None:
    """Restrict the target to a part of the cluster."""
    cluster.target = cluster.server.target(connection=cluster.server.connection(**scope))


async def backed_up(cluster: Cluster) -> None:
    """Make a backup of `web`."""
    assert (await cluster.done("backup_create", backup_id="b1", container_name="web")).outcome == "succeeded"


async def test_a_backup_is_restored_over_the_stopped_guest_it_is_of(cluster: Cluster) -> None:
    await backed_up(cluster)
    cluster.web.config["cores"] = 64
    done = await cluster.done("backup_restore", backup_id="b1", container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "done")
    assert "cores" not in cluster.server.pve.vm(WEB).config


async def test_a_running_guest_is_not_replaced(cluster: Cluster) -> None:
    await backed_up(cluster)
    cluster.web.status = "running"
    cluster.server.pve.requests.clear()
    assert (await refused(cluster, "backup_restore", backup_id="b1", container_name="web")).code == "running"


async def test_a_backup_of_one_guest_is_not_restored_over_another(cluster: Cluster) -> None:
    await backed_up(cluster)
    cluster.server.pve.requests.clear()
    assert (await refused(cluster, "backup_restore", backup_id="b1", container_name="deaf")).code == "other_guest"


async def test_a_backup_is_restored_into_a_new_guest(cluster: Cluster) -> None:
    await backed_up(cluster)
    assert (await cluster.done("backup_restore", backup_id="b1", container_name="copy")).outcome == "succeeded"
    assert sorted(one.name for one in cluster.server.pve.vms) == ["base", "copy", "deaf", "web"]


async def test_a_backup_is_not_restored_as_a_second_guest_of_a_name(cluster: Cluster) -> None:
    """Another target's guest would then need its vmid, which no rule names."""
    cluster.web.pool, cluster.deaf.pool = "test", "prod"
    scoped(cluster, pool="test")
    await backed_up(cluster)
    cluster.server.pve.requests.clear()
    assert (await refused(cluster, "backup_restore", backup_id="b1", container_name="deaf")).code == "exists"


async def test_a_guest_restored_again_is_in_the_pool_of_its_target(cluster: Cluster) -> None:
    cluster.web.pool = "test"
    scoped(cluster, pool="test")
    await backed_up(cluster)
    assert (await cluster.done("backup_restore", backup_id="b1", container_name="copy")).outcome == "succeeded"
    [sent] = [body for method, _, body in cluster.server.pve.requests if method == "POST" and b"archive" in body]
    assert b"pool=test" in sent.split(b"&")


async def test_a_backup_id_is_used_once_and_never_a_prefix(cluster: Cluster) -> None:
    await backed_up(cluster)
    cluster.server.pve.requests.clear()
    assert (await refused(cluster, "backup_create", backup_id="b1", container_name="web")).code == "exists"
    assert (await refused(cluster, "backup_restore", backup_id="b", container_name="web")).code == "not_found"
    done = await cluster.done("backup_delete", backup_id="b")
    assert (done.output["removed"], done.effect) == (False, "none")


async def test_a_backup_is_deleted_in_the_name_of_its_own_guest_alone(cluster: Cluster) -> None:
    """A rule may permit the deletion of the backups of one guest."""
    await backed_up(cluster)
    cluster.server.pve.requests.clear()
    assert (await refused(cluster, "backup_delete", backup_id="b1", container_name="deaf")).code == "other_guest"
    with pytest.raises(WritError, match="of guest 100, not of deaf"):
        await cluster.backend.preview(cluster.task("backup_delete", backup_id="b1", container_name="deaf"))
    assert (await cluster.done("backup_delete", backup_id="b1", container_name="web")).output["removed"]


async def test_a_new_guest_does_not_get_the_backups_of_a_deleted_one(cluster: Cluster) -> None:
    """Proxmox gives the lowest free vmid again, here that of a guest of another target."""
    await backed_up(cluster)
    assert (await cluster.done("guest_delete", guest_name="web")).effect == "done"
    cluster.server.pve.vm(900).config["tags"] = "test"
    scoped(cluster, tag="test")
    assert (await cluster.done("guest_create", guest_name="new", template="base", full=True)).outcome == "succeeded"
    assert (await cluster.done("backup_list")).output["backups"] == []
    cluster.server.pve.requests.clear()
    assert (await refused(cluster, "backup_restore", backup_id="b1", container_name="new")).code == "not_found"


async def test_a_target_that_may_not_list_backups_or_has_none_creates_guests(cluster: Cluster) -> None:
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/storage/local/content", 403))
    new = {"template": "base", "full": True}
    assert (await cluster.done("guest_create", guest_name="new", **new)).outcome == "succeeded"
    cluster.target = replace(cluster.target, backup={})
    assert (await cluster.done("guest_create", guest_name="other", **new)).outcome == "succeeded"


async def test_a_guest_that_runs_is_deleted_by_force_alone(cluster: Cluster) -> None:
    cluster.web.status = "running"
    assert (await refused(cluster, "guest_delete", guest_name="web")).code == "running"
    assert (await cluster.done("guest_delete", guest_name="web", force=True)).outcome == "succeeded"
    assert cluster.server.pve.vm(WEB) is None


@pytest.mark.parametrize("purge", [False, True])
async def test_jobs_are_purged_only_with_purge(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, purge: bool) -> None:
    sent: list[Mapping[str, Any]] = []
    call = ApiSession.call

    def recorded(session: ApiSession, method: str, path: Sequence[object], parameters: Mapping[str, Any]) -> Any:
        sent.extend([parameters] if method == "delete" else [])
        return call(session, method, path, parameters)

    monkeypatch.setattr(ApiSession, "call", recorded)
    await cluster.done("guest_delete", guest_name="web", purge=purge)
    assert sent == ([{"purge": True}] if purge else [{}])
    assert cluster.server.pve.vm(WEB) is None


async def test_a_guest_that_does_not_shut_down_is_turned_off_with_force(cluster: Cluster) -> None:
    failed = await cluster.done("container_stop", container_name="deaf")
    assert (failed.outcome, cluster.deaf.status) == ("failed", "running")
    assert "powerdown failed" in failed.message
    assert (await cluster.done("guest_stop", guest_name="deaf", force=True)).outcome == "succeeded"
    assert cluster.deaf.status == "stopped"


@pytest.mark.parametrize(
    ("scope", "more"), [({"node": "pve1"}, {"node": "pve2"}), ({"pool": "test"}, {"pool": "prod"})]
)
async def test_nothing_is_created_outside_of_the_target(
    cluster: Cluster, scope: dict[str, str], more: dict[str, str]
) -> None:
    scoped(cluster, **scope)
    error = await refused(cluster, "guest_create", guest_name="app", template="base", **more)
    assert error.code == "outside_target"


async def test_guests_of_another_pool_and_their_backups_are_not_there(cluster: Cluster) -> None:
    await backed_up(cluster)
    cluster.server.pve.requests.clear()
    scoped(cluster, pool="prod")
    assert (await refused(cluster, "container_start", container_name="web")).code == "not_found"
    assert (await cluster.done("backup_list")).output["backups"] == []
    assert (await cluster.done("guest_list")).output["guests"] == []


async def test_a_name_that_another_guest_of_the_cluster_has_is_refused(cluster: Cluster) -> None:
    scoped(cluster, pool="prod")
    assert (await refused(cluster, "guest_create", guest_name="web", template="base")).code == "exists"


async def test_settings_that_guests_lack_are_refused(cluster: Cluster) -> None:
    image: dict[str, Any] = {"container_name": "app", "image": "base", "env": {"PASSWORD": "x"}}
    assert (await refused(cluster, "container_create", **image)).code == "unsupported"
    path = {"snapshot_name": "one", "target_path": "/srv"}
    assert (await refused(cluster, "snapshot_create", **path)).code == "unsupported"


@pytest.mark.parametrize("name", ["current", "Pending", "1st", "a", "with.dot"])
async def test_a_snapshot_has_a_name_that_proxmox_takes(cluster: Cluster, name: str) -> None:
    error = await refused(cluster, "snapshot_create", snapshot_name=name, container_name="web")
    assert error.code == "invalid_parameter"


async def test_a_disk_never_shrinks(cluster: Cluster) -> None:
    assert (await refused(cluster, "guest_resize", guest_name="web", disk="scsi0", size=4)).code == "unsupported"
    same = await cluster.done("guest_resize", guest_name="web", disk="scsi0", size=8)
    assert (same.outcome, same.effect) == ("succeeded", "none")
    assert gibibytes("local:100/vm.qcow2,iothread=1,size=512M") == 0.5


async def test_a_target_without_a_backup_storage_says_so(cluster: Cluster) -> None:
    cluster.target = Target(id="pve", role="testing", backend="proxmox", connection=cluster.server.connection())
    assert (await refused(cluster, "backup_list")).code == "no_backup_storage"


async def test_a_step_that_fails_after_another_was_done_is_no_clean_failure(cluster: Cluster) -> None:
    cluster.server.pve.fail("POST", "/config", 500, "no space left")
    done = await cluster.done("guest_create", guest_name="app", template="base", full=True, cores=2)
    assert (done.outcome, done.effect, done.code) == ("failed", "maybe", "refused")
    assert done.message.startswith("a first step was carried out, then:")
