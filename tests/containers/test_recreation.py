"""A container that is made again from another image keeps its own settings, and none of the former image."""

from typing import Any

import pytest

from writ_containers.checks.breakouts import HostPaths, breakouts
from writ_containers.containers.container_recreate import check_recreatable, recreated, settings
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_contracts.errors import Invalid
from writ_testing.each_case import each_case

HOST = HostPaths(mount_roots=["/srv"], socket="/run/other.sock")
FORMER_IMAGE = {
    "Config": {
        "Env": ["PATH=/usr/bin", "VERSION=1"],
        "Cmd": ["serve"],
        "Entrypoint": ["/entry"],
        "Labels": {"maintainer": "x", "version": "1"},
        "ExposedPorts": {"80/tcp": {}},
        "WorkingDir": "/app",
        "Healthcheck": {"Test": ["CMD", "old"]},
    }
}


def container(config: dict[str, Any] | None = None, host: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    inherited = {**FORMER_IMAGE["Config"], "Hostname": "a" * 12, "Image": "web:1", "Tty": False}
    return {"Id": "a" * 64, "Name": "/web", "Config": inherited | (config or {}), "HostConfig": host or {}, **more}


def body(*arguments: Any, **more: Any) -> dict[str, Any]:
    return recreated(container(*arguments, **more), FORMER_IMAGE, "web:2", "op")


def test_settings_from_the_former_image_are_left_to_the_new_one() -> None:
    made = body()
    assert made["Image"] == "web:2"
    assert not {"Cmd", "Entrypoint", "WorkingDir", "Healthcheck", "Hostname"} & made.keys()
    assert (made["Env"], made["ExposedPorts"], made["Labels"]) == ([], {}, {OPERATION_LABEL: "op"})


def test_settings_of_the_container_stay() -> None:
    own = {
        "Env": ["PATH=/usr/bin", "VERSION=mine", "TOKEN=s"],
        "Cmd": ["serve", "--fast"],
        "Labels": {"maintainer": "x", "team": "web", OPERATION_LABEL: "former"},
        "ExposedPorts": {"80/tcp": {}, "81/tcp": {}},
        "Hostname": "shop",
        "User": "1000",
    }
    made = body(own, {"RestartPolicy": {"Name": "always"}, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
    assert made["Env"] == ["VERSION=mine", "TOKEN=s"]
    assert (made["Cmd"], made["User"], made["Hostname"]) == (["serve", "--fast"], "1000", "shop")
    assert made["Labels"] == {"team": "web", OPERATION_LABEL: "op"}
    assert made["ExposedPorts"] == {"81/tcp": {}}
    assert made["HostConfig"]["RestartPolicy"] == {"Name": "always"}
    assert made["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostPort": "8080"}]}


def test_data_of_anonymous_volumes_stays_with_the_container() -> None:
    mounts = [
        {"Type": "volume", "Name": "b" * 64, "Destination": "/data", "RW": True},
        {"Type": "volume", "Name": "kept", "Destination": "/kept", "RW": True},
        {"Type": "bind", "Source": "/srv", "Destination": "/srv", "RW": True},
    ]
    host = {"Binds": ["kept:/kept", "/srv:/srv"]}
    assert body({}, host, Mounts=mounts)["HostConfig"]["Mounts"] == [
        {"Type": "volume", "Source": "b" * 64, "Target": "/data", "ReadOnly": False}
    ]


def test_what_podman_adds_of_its_own_is_not_taken_over() -> None:
    """It shows a limit of processors twice and refuses both together, and makes an alias of each hostname again."""
    config = {"Env": ["A=1", f"HOSTNAME={'a' * 12}"]}
    networks = {"front": {"Aliases": ["web", "shop", "shop", "a" * 12]}}
    host = {"NanoCpus": 500_000_000, "CpuPeriod": 100_000, "CpuQuota": 50_000}
    made = body(config, host, NetworkSettings={"Networks": networks})
    assert made["Env"] == ["A=1"]
    assert made["HostConfig"] == {"NanoCpus": 500_000_000, "Mounts": []}
    assert made["NetworkingConfig"]["EndpointsConfig"]["front"]["Aliases"] == ["web", "shop"]


def test_networks_stay_without_the_addresses_that_the_engine_gave() -> None:
    networks = {
        "front": {"Aliases": ["web", "a" * 12], "IPAMConfig": {"IPv4Address": "10.0.0.9"}, "IPAddress": "10.0.0.9"},
        "back": {"Aliases": None, "IPAMConfig": None, "IPAddress": "10.1.0.3", "NetworkID": "n"},
    }
    made = body({}, {"NetworkMode": "front"}, NetworkSettings={"Networks": networks})
    front = {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}}
    assert made["NetworkingConfig"] == {"EndpointsConfig": {"front": front, "back": {}}}
    assert "NetworkingConfig" not in body({}, {"NetworkMode": "host"}, NetworkSettings={"Networks": {"host": {}}})


@each_case(
    ("host", "flag"),
    [
        ({"Privileged": True}, "allow_privileged"),
        ({"NetworkMode": "host"}, "allow_host_network"),
        ({"NetworkMode": "container:abc"}, "allow_shared"),
        ({"PidMode": "host"}, "allow_host_namespaces"),
        ({"IpcMode": "container:abc"}, "allow_shared"),
        ({"UTSMode": "host"}, "allow_host_namespaces"),
        ({"UsernsMode": "host"}, "allow_host_namespaces"),
        ({"CgroupnsMode": "host"}, "allow_host_namespaces"),
        ({"CapAdd": ["CAP_SYS_ADMIN"]}, "allow_capabilities"),
        ({"Devices": [{"PathOnHost": "/dev/sda"}]}, "allow_devices"),
        ({"DeviceRequests": [{"Driver": "nvidia"}]}, "allow_devices"),
        ({"DeviceCgroupRules": ["c 1:3 rwm"]}, "allow_devices"),
        ({"Binds": ["/etc:/etc"]}, "allow_host_mounts"),
        ({"Mounts": [{"Type": "bind", "Source": "/root", "Target": "/r"}]}, "allow_host_mounts"),
        ({"Binds": ["/var/run/docker.sock:/s"]}, "allow_engine_socket"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "allow_unconfined"),
        ({"MaskedPaths": [], "ReadonlyPaths": []}, "allow_unconfined"),
        ({"ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"]}, "allow_unconfined"),
        ({"Sysctls": {"kernel.shmmax": "1"}}, "allow_unconfined"),
        ({"VolumesFrom": ["db"]}, "allow_shared"),
    ],
)
def test_existing_setting_needs_the_flag_of_its_creation(host: dict[str, Any], flag: str) -> None:
    """A changed image would run another program with these settings."""
    found = {one.flag for one in breakouts(settings(container({}, host), {"CgroupVersion": "2"}, "box:2"), HOST)}
    assert flag in found


def test_isolated_container_needs_no_flag() -> None:
    host = {
        "NetworkMode": "bridge",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Binds": ["kept:/k", "/srv/x:/x"],
        "SecurityOpt": ["no-new-privileges"],
        "CapAdd": None,
        "MaskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    }
    assert list(breakouts(settings(container({}, host), {"CgroupVersion": "2"}, "box:2"), HOST)) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (container({"Labels": {"com.docker.compose.project": "shop"}}), "belongs_to_stack"),
        (container({}, {"AutoRemove": True}), "auto_remove"),
    ],
)
def test_container_that_cannot_be_put_back_is_refused(raw: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_recreatable(raw)
    assert refused.value.code == code


def test_cgroup_namespace_of_an_old_kernel_is_no_setting() -> None:
    raw = container({}, {"CgroupnsMode": "host"})
    assert list(breakouts(settings(raw, {"CgroupVersion": "1"}, "box:2"), HOST)) == []
