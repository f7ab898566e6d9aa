"""A path or network that a target's entry does not declare is refused in hostops' own words."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.declared_places import KERNEL_TREES, PATHS, SYSTEM_ROOTS, undeclared
from writ_contracts.inventory import FileRoot, Target
from writ_contracts.operations import Catalogue
from writ_hostops.errors import HostError
from writ_hostops.files import paths
from writ_hostops.network import scan
from writ_hostops.operations import run
from writ_hostops.protocol import HostFileRoot

CATALOGUE = Catalogue(BUILT_IN)
FOLDERS = st.lists(st.sampled_from(["etc", "proc", "srv", "a", "b", "dev"]), max_size=3).map(
    lambda names: "/" + "/".join(names)
)
ROOTS = st.lists(st.builds(FileRoot, path=FOLDERS, allow_system_root=st.booleans()), max_size=4)
NETWORKS = st.sampled_from(
    ["10.0.0.0/24", "10.0.0.0/8", "10.0.1.0/25", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/120", "fd00::/64", "fd00::/120"]
)


def of(target: Target, operation: str, **parameters: str) -> tuple[str, str] | None:
    return undeclared(target, CATALOGUE[operation], parameters)


def host(roots: list[FileRoot], backend: str = "local") -> Target:
    return Target(id="web-1", role="testing", backend=backend, file_roots=list(roots))


@given(path=FOLDERS, roots=ROOTS)
def test_path_is_refused_as_hostops_refuses_it(path: str, roots: list[FileRoot]) -> None:
    known = [HostFileRoot(root.path, root.allow_system_root) for root in roots]
    try:
        paths.locate(path, known)
        expected = None
    except HostError as error:
        expected = (error.code, error.message)
    assert of(host(roots), "file_read", file_path=path) == expected


@given(network=NETWORKS, declared=st.lists(NETWORKS, min_size=1, max_size=3))
def test_network_is_refused_as_hostops_refuses_it(network: str, declared: list[str]) -> None:
    try:
        scan._refuse_undeclared(ip_network(network), tuple(declared))
        expected = None
    except HostError as error:
        expected = (error.code, error.message)
    target = Target(id="web-1", role="testing", backend="ssh", scan_networks=declared)
    assert of(target, "network_scan", cidr=network) == expected


def test_system_folders_are_those_of_hostops() -> None:
    assert (SYSTEM_ROOTS, KERNEL_TREES) == (paths.SYSTEM_ROOTS, paths.KERNEL_TREES)


@pytest.mark.parametrize(("operation", "names"), PATHS.items())
def test_each_path_of_an_operation_is_refused_by_hostops(operation: str, names: tuple[str, ...]) -> None:
    needed = {"file_write": {"content": "x"}, "backup_restore": {"backup_id": "b"}, "backup_create": {"backup_id": "b"}}
    named = {"snapshot_name": "s"} if operation.startswith("snapshot_") and operation != "snapshot_list" else {}
    for name in names:
        paths_given = {one: f"/srv/files/{one}" for one in names} | {name: "/srv/other"}
        parameters = CATALOGUE[operation].check({**paths_given, **needed.get(operation, {}), **named})
        found = undeclared(host([FileRoot(path="/srv/files")]), CATALOGUE[operation], parameters)
        assert found is not None
        assert found[0] == "outside_roots"
        assert undeclared(host([FileRoot(path="/srv")]), CATALOGUE[operation], parameters) is None
        assert undeclared(host([], backend="docker"), CATALOGUE[operation], parameters) is None
        if operation.startswith(("file_", "snapshot_")):
            sent = {key: value for key, value in parameters.items() if key != "timeout" and value is not None}
            request = {"id": "s1", "action": "run", "operation": operation, "parameters": sent, "timeout": 5}
            done = run({**request, "target": {"file_roots": []}})
            assert (done["code"], done["message"]) == undeclared(host([]), CATALOGUE[operation], parameters)
