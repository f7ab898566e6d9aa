"""The outputs of hostops have the fields that the catalogue declares for each operation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.apt_root import AptRoot
from tests.hostops.apt_root import apt_root as apt_root
from tests.hostops.conftest import ask as ask
from tests.hostops.conftest import srv as srv
from tests.hostops.test_backups import Vault
from tests.hostops.test_backups import vault as vault

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.catalogue.snapshots import SnapshotEntry
from writ_contracts.operations import Catalogue
from writ_hostops.backups import create, restore
from writ_hostops.backups import delete as remove
from writ_hostops.backups import listing as backups
from writ_hostops.files import copy, delete, read, write
from writ_hostops.network import reach, scan, status
from writ_hostops.packages import changes, listing
from writ_hostops.protocol import HostBackup, HostFileRoot, HostReply, HostTarget, OperationCall
from writ_hostops.snapshots import operations as snapshots
from writ_hostops.snapshots.store import Snapshot
from writ_hostops.stop import CancelToken
from writ_hostops.systemd import judgement
from writ_hostops.systemd.unit import Unit

CATALOGUE = Catalogue(BUILT_IN)


def call(root: Path, operation: str, **parameters: Any) -> OperationCall:
    target = HostTarget(file_roots=(HostFileRoot(str(root), allow_system_root=True),))
    return OperationCall(operation, parameters, target, CancelToken(30.0), lambda _: None)


def unknown(operation: str, answer: HostReply | dict[str, Any]) -> set[str]:
    output = answer.output if isinstance(answer, HostReply) else answer
    return set(output) - set(CATALOGUE[operation].output.__struct_fields__)


def test_outputs_of_file_operations_have_only_declared_fields(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    wish = call(tmp_path, "file_write", file_path=one, content="x")
    assert unknown("file_write", write.preview(wish)) == {"version"}, "for the agent, which drops it"
    assert unknown("file_write", write.run(wish)) == set()
    assert unknown("file_read", read.run(call(tmp_path, "file_read", file_path=one))) == set()
    wish = call(tmp_path, "file_copy", source_path=one, dest_path=two)
    assert unknown("file_copy", copy.preview(wish)) == {"version", "source_version"}
    assert unknown("file_copy", copy.run(wish)) == set()
    wish = call(tmp_path, "file_delete", file_path=two)
    assert unknown("file_delete", delete.preview(wish)) == set()
    assert unknown("file_delete", delete.run(wish)) == set()


def test_outputs_of_network_operations_have_only_declared_fields(tmp_path: Path) -> None:
    assert unknown("network_status", status.run(call(tmp_path, "network_status"))) == set()
    wish = call(tmp_path, "network_test", host="localhost", protocol="dns", count=1)
    assert unknown("network_test", reach.run(wish)) == set()
    wish = call(tmp_path, "network_scan", cidr="127.0.0.1/32", ports=[1])
    wish = replace(wish, target=replace(wish.target, scan_networks=("127.0.0.0/8",)))
    assert unknown("network_scan", scan.run(wish)) == set()


@pytest.mark.parametrize("operation", ["package_install", "package_update", "package_remove"])
def test_outputs_of_package_operations_have_only_declared_fields(
    tmp_path: Path, operation: str, apt_root: AptRoot
) -> None:
    changes.run(call(tmp_path, "package_install", package_name="hello", version="1.0"))
    wish = call(tmp_path, operation, package_name="hello")
    assert unknown(operation, changes.preview(wish)) == set()
    assert unknown(operation, changes.run(wish)) == set()
    if operation == "package_update":
        wish = call(tmp_path, operation, index="fetch")
        assert unknown(operation, changes.preview(wish)) == set()
        assert unknown(operation, changes.run(wish)) == set()
    assert unknown("package_list", listing.run(call(tmp_path, "package_list"))) == set()


def test_outputs_of_backup_operations_have_only_declared_fields(tmp_path: Path, vault: Vault, srv: Path) -> None:
    backup = HostBackup(str(vault.repository), str(vault.password))

    def wish(operation: str, **parameters: Any) -> OperationCall:
        plain = call(srv, operation, **parameters)
        return replace(plain, target=replace(plain.target, backup=backup))

    path = {"target_path": str(srv / "data")}
    for operation, module in (("create", create), ("restore", restore)):
        one = wish(f"backup_{operation}", backup_id="one", **path)
        assert unknown(one.operation, module.preview(one)) == set()
        assert unknown(one.operation, module.run(one)) == set()
    assert unknown("backup_list", backups.run(wish("backup_list"))) == set()
    one = wish("backup_delete", backup_id="one")
    assert unknown("backup_delete", remove.preview(one)) == set()
    assert unknown("backup_delete", remove.run(one)) == set()


def test_outputs_of_snapshot_operations_have_only_declared_fields() -> None:
    output = snapshots._output(Snapshot("one", 0.0))
    for operation in ("snapshot_create", "snapshot_restore"):
        assert unknown(operation, {**output, "would": "", "commands": [], "log": ""}) == set()
    assert unknown("snapshot_delete", {"snapshot_name": "", "removed": True, "would": "", "commands": []}) == set()
    assert set(Snapshot("one", 0.0).entry()) <= set(SnapshotEntry.__struct_fields__)


@pytest.mark.parametrize("operation", ["service_status", "service_start", "service_stop", "service_restart"])
def test_outputs_of_service_operations_have_only_declared_fields(operation: str) -> None:
    output = judgement.output(Unit("nginx.service"), "")
    assert unknown(operation, {"would": "", "commands": [], "job_result": "", "changed": False, **output}) == set()
