"""Each setting by which a container can reach its host needs its flag."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from writ_containers import container_operations
from writ_containers.checks.breakouts import ContainerSettings, HostPaths, breakouts, refuse_breakouts
from writ_containers.containers.container_config import config, settings, shown
from writ_containers.engine.api import Engine
from writ_containers.engine.connection import EngineAddress
from writ_containers.engine.endpoint import SocketEndpoint
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.catalogue.containers import ContainerCreate
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_testing.each_case import each_case
from writ_testing.suites.backend import task

SOCKET = "/run/user/1000/docker.sock"
HOST = HostPaths(mount_roots=["/srv/data"], socket=SOCKET)
CREATE = Catalogue(BUILT_IN)["container_create"]


def flags(**settings: Any) -> list[str]:
    return [one.flag for one in breakouts(ContainerSettings(name="web", **settings), HOST)]


@each_case(
    ("settings", "flag"),
    [
        ({"privileged": True}, "allow_privileged"),
        ({"network": "host"}, "allow_host_network"),
        ({"network": "container:db"}, "allow_shared"),
        ({"network": "ns:/proc/1/ns/net"}, "allow_host_network"),
        ({"network": "slirp4netns:allow_host_loopback=true"}, "allow_host_network"),
        ({"namespaces": {"pid": "host"}}, "allow_host_namespaces"),
        ({"namespaces": {"ipc": "host"}}, "allow_host_namespaces"),
        ({"namespaces": {"pid": "container:db"}}, "allow_shared"),
        ({"namespaces": {"userns_mode": "host"}}, "allow_host_namespaces"),
        ({"namespaces": {"cgroup": "host"}}, "allow_host_namespaces"),
        ({"cap_add": ["SYS_ADMIN"]}, "allow_capabilities"),
        ({"cap_add": ["cap_net_admin"]}, "allow_capabilities"),
        ({"cap_add": ["ALL"]}, "allow_capabilities"),
        ({"devices": ["/dev/sda"]}, "allow_devices"),
        ({"binds": ["/etc"]}, "allow_host_mounts"),
        ({"binds": ["/srv/data/../../etc"]}, "allow_host_mounts"),
        ({"binds": ["/srv/database"]}, "allow_host_mounts"),
        ({"binds": ["/srv/data/docker.sock"]}, "allow_engine_socket"),
        ({"security_options": ["seccomp=unconfined"]}, "allow_unconfined"),
        ({"kernel_parameters": ["net.ipv4.ip_forward"]}, "allow_unconfined"),
        ({"foreign": ["external volume x"]}, "allow_shared"),
    ],
)
def test_setting_that_breaks_out_needs_its_flag(settings: dict[str, Any], flag: str) -> None:
    assert flags(**settings) == [flag]


@pytest.mark.parametrize(
    "path",
    ["/", "/run", "/var", "/run/user/1000", "/var/run/user/1000", "/var/run/podman", "/var/run/docker.sock", SOCKET],
)
def test_folder_above_a_socket_needs_the_sockets_flag_too(path: str) -> None:
    assert flags(binds=[path]) == ["allow_host_mounts", "allow_engine_socket"]


@pytest.mark.parametrize(
    "path",
    [
        *("/run/docker", "/var/run/docker/containerd", "/run/k3s", "/run/k3s/containerd", "/run/user", "/var/run/user"),
        *("/run/user/0", "/run/user/1001", "//var/run/user/1001/", "/run/user/1001/podman", "/run/user/1001/docker"),
        *("/proc", "//proc", "/proc/.", "/proc/self/..", "/proc/self", "/proc/1/."),
    ],
)
def test_folder_of_another_engine_and_of_all_processes_need_the_sockets_flag(path: str) -> None:
    assert flags(binds=[path]) == ["allow_host_mounts", "allow_engine_socket"]


@pytest.mark.parametrize("path", ["/run/user/1001/pulse", "/run/shop", "/proc/sys", "/proc/meminfo", "/run/k3s/shop"])
def test_folder_beside_sockets_needs_no_flag_of_sockets(path: str) -> None:
    assert flags(binds=[path]) == ["allow_host_mounts"]


@pytest.mark.parametrize(
    "settings",
    [
        {"network": "frontend", "cap_add": ["CHOWN", "NET_BIND_SERVICE"], "binds": ["/srv/data", "/srv/data/a"]},
        {"security_options": ["no-new-privileges:true"], "namespaces": {"ipc": "private", "pid": "", "uts": "private"}},
    ],
)
def test_setting_that_stays_inside_needs_no_flag(settings: dict[str, Any]) -> None:
    assert flags(**settings) == []


WRITS = [
    *("/etc", "/etc/writ", "/etc/writ/agent-docker.seed", "/etc/writ-docker", "/opt/writ", "/run/credentials"),
    *("/var/run/credentials/writ-agent-docker.service", "/var/lib", "/var/lib/writ-agent-docker", "/var/lib/private"),
    "/var/lib/writ-hostops/code",
]


@pytest.mark.parametrize("path", WRITS)
def test_mount_that_reaches_files_of_writ_needs_a_flag_below_mount_roots_too(path: str) -> None:
    host = HostPaths(mount_roots=["/"], socket=SOCKET)
    found = list(breakouts(ContainerSettings(name="web", binds=[path]), host))
    assert found == [("allow_host_mounts", f"the mount of {path}, which reaches files of Writ itself")]


@pytest.mark.parametrize("path", ["/etc/nginx", "/var/lib/shop", "/run/shop", "/etc/writer", "/srv/keys2"])
def test_mount_beside_files_of_writ_needs_no_flag(path: str) -> None:
    host = HostPaths(mount_roots=["/"], socket=SOCKET, own=["/srv/keys"])
    assert list(breakouts(ContainerSettings(name="web", binds=[path]), host)) == []


def test_link_to_the_run_folder_reaches_what_is_in_it() -> None:
    found = list(
        breakouts(ContainerSettings(name="web", binds=["/var/run"]), HostPaths(mount_roots=["/var"], socket=SOCKET))
    )
    assert found[0] == ("allow_host_mounts", "the mount of /var/run, which reaches files of Writ itself")


@each_case(("path", "expected"), [("/srv/a[b]", ["allow_host_mounts"]), ("/srv/ab", []), ("/srv/a*", [])])
def test_declared_file_of_writ_is_no_pattern(path: str, expected: list[str]) -> None:
    host = HostPaths(mount_roots=["/srv"], socket=SOCKET, own=["/srv/a[b]/keys"])
    assert [one.flag for one in breakouts(ContainerSettings(name="web", binds=[path]), host)] == expected


def test_missing_flag_is_named_and_a_set_one_is_enough() -> None:
    one = ContainerSettings(name="web", privileged=True, network="host")
    with pytest.raises(Invalid) as refused:
        refuse_breakouts([one], {"allow_privileged": True}, HOST)
    assert (refused.value.code, str(refused.value)) == (
        "breakout_refused",
        "web: the network of the host needs allow_host_network",
    )
    refuse_breakouts([one], {"allow_privileged": True, "allow_host_network": True}, HOST)


def test_long_refusal_cuts_no_setting_in_two() -> None:
    secret = "s3cret" * 20
    one = ContainerSettings(name="web", devices=[f"/dev/{secret}{at}" for at in range(20)])
    with pytest.raises(Invalid) as refused:
        refuse_breakouts([one], {}, HOST)
    assert "15 more settings are refused" in str(refused.value)
    assert str(refused.value).count("s3cret") == 5 * 20


def test_settings_of_a_create_are_all_checked() -> None:
    parameters = create(
        privileged=True, network="host", cap_add=["SYS_PTRACE"], devices=["/dev/kvm"], mounts=["/etc:/e", "vol:/v"]
    )
    found = {one.flag for one in breakouts(settings(parameters), HOST)}
    assert found == {
        "allow_privileged",
        "allow_host_network",
        "allow_capabilities",
        "allow_devices",
        "allow_host_mounts",
    }


def test_preview_of_a_create_shows_no_secret() -> None:
    secrets = {"env": {"TOKEN": "s3cret-env"}, "command": ["s3cret-command"], "labels": {"auth": "s3cret-label"}}
    body = config(create(**secrets, health_command=["s3cret-check"]), "op")
    assert "s3cret" in str(body)
    assert "s3cret" not in str(shown(body))
    assert shown(body)["Env"] == ["TOKEN"]


@pytest.mark.parametrize("name", ["io.writops.operation", "com.docker.compose.project"])
def test_labels_that_others_rely_on_cannot_be_set(name: str) -> None:
    with pytest.raises(Invalid, match=r"labels: io\.writops and com\.docker are reserved"):
        CREATE.check({"container_name": "web", "image": "box:1", "labels": {name: "x"}})


def create(**parameters: Any) -> ContainerCreate:
    return ContainerCreate(container_name="web", image="box:1", **parameters)


class NoContainers(Engine):
    def __init__(self) -> None:
        self.address, self.own = EngineAddress(), ()
        self.endpoint = SocketEndpoint(self.address.socket)

    async def containers(self, labels: Mapping[str, str] | None = None) -> list[Mapping[str, Any]]:
        return []

    async def networks(self, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
        return []

    async def get_json(
        self, path: str, query: Mapping[str, str], absent: Collection[int] = (), shape: Any = Any
    ) -> Any:
        return None

    async def volumes(self, labels: Mapping[str, str]) -> list[str]:
        return []


@pytest.mark.parametrize("service", ["depends_on: ['${TOKEN}']", "cap_add: ['${TOKEN}']", "hostname: 'h-${TOKEN}'"])
async def test_preview_of_a_stack_shows_no_secret_that_its_file_fills_in(service: str) -> None:
    """The result and the error of a preview go to the journal."""
    target = Target(id="box", role="development", backend="docker")
    compose = f"services:\n  web:\n    image: nginx\n    {service}\n"
    parameters = {"stack_name": "shop", "compose": compose, "env": {"TOKEN": "s3cret"}}
    request = task(Catalogue(BUILT_IN)["stack_deploy"], target, "a" * 26, **parameters)
    try:
        text = str(await container_operations.preview(NoContainers(), request))
    except Invalid as error:
        text = str(error)
    assert "<secret>" in text
    assert "s3cret" not in text
