"""Audit reads NATS' log under systemd and in containers, by the same path in both files."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.architecture.test_compose import COMPOSE, DOCKERFILE, mounted
from tests.architecture.tree import ROOT

from writ_installation.provisioner import folders

IMAGES = DOCKERFILE.read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with a word in place of each variable."""
    return dict(yaml.safe_load(re.sub(r"\$\{[^}]*\}", "x", COMPOSE.read_text())))


def test_audit_follows_the_log_that_each_nats_server_writes(compose: dict[str, Any]) -> None:
    audit = compose["services"]["audit"]
    folder = audit["environment"]["WRIT_NATS_LOG"]
    assert f"nats-log:{folder}:ro" in audit["volumes"]
    for name in ("WRIT_AGENTS", "WRIT_PRINCIPALS", "WRIT_NATS_CONFIG"):  # a key that was just added is no stranger's
        assert str(Path(audit["environment"][name]).parent) in mounted(audit)
    assert "/etc/nats" not in mounted(audit)  # the private keys of NATS's certificates
    written = re.search(
        r"RUN mkdir /opt/writ/nats && for name in ([a-z0-9 -]+); do \\\s+printf '(.*?)' ", IMAGES, re.MULTILINE
    )
    assert written is not None
    assert tuple(written[1].split()) == folders.SERVERS
    settings = written[2].replace("%s", "NAME").split("\\n")
    for name in folders.SERVERS:
        server = compose["services"][name]
        assert server["command"] == ["-c", f"/opt/writ/nats/{name}.conf"]
        assert f"nats-log:{folder}" in server["volumes"]
        assert mounted(server)["/etc/nats"].endswith("/servers")
    assert settings[:2] == ['include "../../../etc/nats/NAME.conf"', f'log_file: "{folder}/NAME.log"']
    assert f"mkdir -m 1777 /var/lib/writ {folder}\n" in IMAGES


def test_audits_unit_follows_the_log_that_nats_unit_writes() -> None:
    nats, audit = (unit(name) for name in ("writ-nats.service", "writ-audit@.service"))
    [config] = nats["SetCredential"]
    name, _, text = config.partition(":")
    include, log, *_ = text.split("\\n")
    assert nats["ExecStart"] == [f"/opt/writ/bin/nats-server -c %d/{name}"]
    path = os.path.normpath(Path("/run/credentials/writ-nats.service", include.partition('"')[2].strip('"')))
    assert f"WRIT_NATS_CONFIG={path}" in audit["Environment"][-1].split()
    log_file = log.removeprefix("log_file: ")
    assert f"WRIT_NATS_LOG={log_file}" in audit["Environment"][-1].split()
    [group], [folder] = nats["Group"], nats["LogsDirectory"]
    assert str(Path(log_file).parent) == f"/var/log/{folder}"
    assert audit["BindReadOnlyPaths"] == [f"-/var/log/private/{folder}:/var/log/{folder}"]
    assert group in audit["SupplementaryGroups"][0].split()
    assert (nats["LogsDirectoryMode"], nats["UMask"]) == (["0750"], ["0027"])
    assert f"\ng {group} " in (ROOT / "deploy/systemd/writ.sysusers").read_text()
    others = [path.name for path in (ROOT / "deploy/systemd").glob("*.service") if group in path.read_text()]
    assert sorted(others) == ["writ-audit@.service", "writ-nats.service"]


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit, each with all its values."""
    found = dict[str, list[str]]()
    for key, value in re.findall(r"^(\w+)=(.*)$", (ROOT / "deploy" / "systemd" / name).read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found
