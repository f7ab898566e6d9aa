"""Every operation of a Linux host, run on a host of the lab; the host's own programs confirm the effect."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.lab.hosts import Host
from tests.lab.repository import Repository
from tests.lab.vault import Vault

from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_testing.suites.host_cases import HostCase, HostCases

UNIT = r"trial@one\x2dtwo"
_UNIT_FILE = """[Unit]
Description=For a test
[Service]
ExecStart=/bin/sleep infinity
"""
Look = Callable[[dict[str, Any] | None], bool]


class LabTrials:
    """Run `all` of them one after the other; only the usual files of tests remain."""

    def __init__(self, catalogue: Catalogue, target: Target, host: Host) -> None:
        self._made = HostCases(catalogue, target, Path("/srv/data"))
        self._host = host

    def services(self) -> Iterator[HostCase]:
        """An instance of a template, with an escape in its name."""
        host, given = self._host, {"service_name": UNIT}
        host.write("/etc/systemd/system/trial@.service", _UNIT_FILE)
        host.run("systemctl", "daemon-reload")

        def pid() -> int:
            return int(host.show(UNIT, "MainPID"))

        yield self._host_case("service_start", lambda _: host.show(UNIT, "ActiveState") == "active", **given)
        yield self._host_case("service_status", lambda seen: seen is not None and seen["main_pid"] == pid(), **given)
        before = pid()
        yield self._host_case("service_restart", lambda _: pid() not in (0, before), **given)
        yield self._host_case("service_stop", lambda _: host.show(UNIT, "ActiveState") == "inactive", **given)

    def files(self) -> Iterator[HostCase]:
        """Written, read, copied, deleted."""
        one, two = "/srv/data/trial-one", "/srv/data/trial-two"
        self._host.run("rm", "-f", one, two)
        self._host.run("mkdir", "-p", "/srv/data")
        digest = hashlib.sha256(b"new\n").hexdigest()
        yield self._host_case("file_write", lambda _: self._text(one) == "new", file_path=one, content="new\n")
        yield self._host_case("file_read", lambda seen: seen is not None and seen["digest"] == digest, file_path=one)
        yield self._host_case("file_copy", lambda _: self._text(two) == "new", source_path=one, dest_path=two)
        yield self._host_case("file_delete", lambda _: self._text(two) == "", file_path=two)

    def network(self) -> Iterator[HostCase]:
        """nginx listens on port 80."""
        address = f"{self._host.address}/24"
        yield self._host_case("network_status", lambda seen: seen is not None and address in _addresses(seen))
        given = {"host": "127.0.0.1", "protocol": "http", "port": 80, "count": 1}
        yield self._host_case("network_test", lambda seen: seen is not None and seen["reachable"], **given)
        found = {"127.0.0.1": [80]}
        yield self._host_case(
            "network_scan",
            lambda seen: seen is not None and seen["open_ports"] == found,
            cidr="127.0.0.1/32",
            ports=[80, 81],
        )

    def packages(self, packages: Repository) -> Iterator[HostCase]:
        """Yield cases for the lab's repository, by the host's own apt."""
        given = {"package_name": "hello"}
        self._host.run("apt-get", "-q", "update")
        self._host.run("apt-get", "-qy", "purge", "hello", "extra")
        yield self._host_case("package_install", lambda _: packages.version("hello") == "1.0", **given, version="1.0")
        yield self._host_case(
            "package_list", lambda seen: seen is not None and len(seen["packages"]) == 1, pattern="hello"
        )
        yield self._host_case("package_update", lambda _: packages.version("hello") == "1.1", **given)
        yield self._host_case("package_remove", lambda _: packages.version("hello") == "", **given)

    def backups(self, backups: Vault) -> Iterator[HostCase]:
        """Yield cases for the host's restic repository, which has none of Writ's backups."""
        path = "/srv/data/trial-data"
        given = {"backup_id": "trial", "target_path": path}
        self._host.write(f"{path}/a", "before")
        yield self._host_case("backup_create", lambda _: backups.ids() == ["trial"], **given)
        yield self._host_case("backup_list", lambda seen: seen is not None and len(seen["backups"]) == 1)
        self._host.write(f"{path}/a", "after")
        yield self._host_case("backup_restore", lambda _: self._text(f"{path}/a") == "before", **given)
        yield self._host_case("backup_delete", lambda _: backups.ids() == [], backup_id="trial")

    def snapshots(self, subvolume: str) -> Iterator[HostCase]:
        """Yield cases for a subvolume whose file `a` says `before`."""
        given = {"snapshot_name": "one", "target_path": subvolume}
        yield self._host_case("snapshot_create", lambda _: self._kept() == ["one"], **given)
        yield self._host_case(
            "snapshot_list", lambda seen: seen is not None and len(seen["snapshots"]) == 1, target_path=subvolume
        )
        self._host.write(f"{subvolume}/a", "after")
        yield self._host_case("snapshot_restore", lambda _: self._text(f"{subvolume}/a") == "before", **given)
        yield self._host_case("snapshot_delete", lambda _: self._kept() == [], **given)

    def _host_case(self, name: str, look: Look, **given: Any) -> HostCase:
        return self._made.host_case(name, look, **given)

    def _text(self, path: str) -> str:
        return self._host.attempt("cat", path)[1].strip()

    def _kept(self) -> list[str]:
        listed = self._host.run("btrfs", "subvolume", "list", "-r", "/srv/volume").splitlines()
        return [line.rpartition("/")[2] for line in listed]


def _addresses(seen: dict[str, Any]) -> list[str]:
    return [one["address"] for interface in seen["interfaces"] for one in interface["addresses"]]
