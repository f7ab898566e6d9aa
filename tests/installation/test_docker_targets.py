"""Engines as targets: the files for an engine over TLS, and refusals before any file is written."""

from pathlib import Path
from typing import Any

import pytest

from writ_contracts.errors import Invalid
from writ_documents.readers import read_inventory
from writ_installation.administration.docker_targets import (
    EngineFolders,
    NewEngine,
    add_docker_target,
    engine_socket,
)
from writ_installation.administration.targets import when_used
from writ_installation.files.home import Home
from writ_installation.provisioner import folders

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"


def wish(folder: Path, address: str, **more: Any) -> NewEngine:
    for name, text in (("ca", CERTIFICATE), ("identity", CERTIFICATE + KEY), ("neither", "x")):
        (folder / name).write_text(text)
    return NewEngine(name="box", role="testing", address=address, **more)


async def test_an_engine_over_tls_is_pinned_and_its_key_is_private(tmp_path: Path) -> None:
    home, beneath = Home(tmp_path / "home"), EngineFolders(mount_roots=("/srv",), stack_dir="/srv/stacks")
    options = {"ca": tmp_path / "ca", "identity": tmp_path / "identity", "folders": beneath}
    added = await add_docker_target(home, wish(tmp_path, "tcp://[fd00::1]:2376", **options))
    (target,) = [one for one in read_inventory(home.inventory).targets if one.id == "box"]
    assert target.connection == {"host": "fd00::1", "port": 2376, "ca": CERTIFICATE}
    assert (target.mount_roots, target.stack_dir) == (["/srv"], "/srv/stacks")
    credential = Path(added.credential)
    assert (credential.read_text(), credential.stat().st_mode & 0o777) == (CERTIFICATE + KEY, 0o600)
    for address, more, why in (
        ("/run/x.sock", {"ca": tmp_path / "ca"}, "are for an engine over TLS"),
        ("e:99999", options, "is neither a socket"),
        ("e:1", {"ca": tmp_path / "ca"}, "needs --docker-ca FILE and --key FILE"),
        ("e:1", {"ca": tmp_path / "neither", "identity": tmp_path / "identity"}, "holds no CERTIFICATE as PEM"),
        ("e:1", {"ca": tmp_path / "ca", "identity": tmp_path / "ca"}, "holds no PRIVATE KEY as PEM"),
    ):
        other = NewEngine(name="other", role="testing", address=address, **more)
        with pytest.raises(Invalid, match=why):
            await add_docker_target(home, other)
    assert "other" not in home.inventory.read_text()


def test_the_engine_of_a_host_is_named_by_its_socket() -> None:
    assert engine_socket("/run/docker.sock") == {"socket": "/run/docker.sock"}
    with pytest.raises(Invalid, match="not an absolute path of a socket"):
        engine_socket("docker.sock")


async def test_engine_for_agents_in_containers_waits_for_no_agent_and_for_no_writ_up(tmp_path: Path) -> None:
    home = folders.init(tmp_path / ".writ", 1)
    added = await add_docker_target(home, wish(tmp_path, "/var/run/docker.sock"))
    assert added.served is None
    assert when_used(home) == "Agents in containers are not seen from here: test the target once they are up"
