"""Writ on several hosts, as docs/install.md says: the services on one, under systemd, an agent on the other."""

import json
import re
import shutil
from pathlib import Path

from tests.lab import wheels
from tests.lab.hosts import Host, until
from tests.lab.installation import UNITS, Writ
from tests.lab.targets import ROOT

TEXT = (Path(__file__).parents[2] / "docs" / "install.md").read_text()
INDEX = "/root/index"
"""Where somebody else has our names. What is taken from it cannot be installed."""
COUNTED = "counted"
SERVICES = ("writ-nats", "writ-keeper", "writ-policy@1", "writ-executor@1", "writ-audit@1")
SSH_AGENT = "writ-agent-ssh@ssh"
OVER_SSH = "db-1"
"""The far host once more, as the text has it."""
SECOND = ("writ-policy@2", "writ-executor@2", "writ-audit@2")
TARGETS = 4
COUNTING = """[Unit]
Description=Leaves a line for each of its starts
StartLimitIntervalSec=0
[Service]
ExecStartPre=/bin/sh -c 'echo "$INVOCATION_ID" >> /srv/counted-%i'
ExecStart=/bin/sleep infinity
"""


class Site(Writ):
    """The command line as root has it on the host of the services."""

    def __init__(self, control: Host, far: Host) -> None:
        super().__init__(Path("/etc/writ"))
        self.control, self.far = control, far
        self.pool = f"local-{far.name}"
        self.agent = f"writ-agent-local@{self.pool}"

    def call(self, *words: str, timeout: float = 120.0) -> tuple[int, str, str]:
        command = ("env", "WRIT_HOME=/etc/writ", "/opt/writ/bin/writ", *words)
        return self.control.attempt(*command, timeout=timeout)

    @property
    def url(self) -> str:
        """Return the address of NATS for other hosts."""
        return f"tls://{self.control.address}:4222"

    def ca(self) -> str:
        """Return the CA's certificate for other hosts."""
        return str(self.json("tls", "show")["ca"])

    def operator_seed(self) -> bytes:
        """Return the seed of the first principal."""
        return self.control.run("cat", "/etc/writ/keys/principal-operator.seed").encode()

    def installation(self) -> str:
        """Return the installation's id."""
        return self.control.run("grep", "-oP", "^id: \\K.*", "/etc/writ/installation.yaml").strip()

    def states(self, units: tuple[str, ...] = SERVICES) -> dict[str, tuple[str, str]]:
        """Return each unit's state and main process."""
        return {unit: (self.control.show(unit, "ActiveState"), self.control.show(unit, "MainPID")) for unit in units}


def set_up(site: Site, scratch: Path) -> None:
    """Set up a site until its agents are connected: docs/install.md, typed verbatim."""
    services, token, agent, over_ssh = blocks(
        TEXT.replace("control.example.org", site.control.address)
        .replace("web-1", site.far.name)
        .replace("db-1.example.org", site.far.address)
        .replace("SHA256:…", fingerprint(site.far))
    )
    give(site.control, scratch / "control", wheels.SITE)
    give(site.far, scratch / "far", wheels.AGENT)
    for line in services:
        site.control.run(*typed(line), timeout=120.0)
    declare(site)
    said = site.control.run(*typed(token[0]))
    for line in agent:
        site.far.run(*typed(line), stdin=said if line.endswith("writ-enrol") else "", timeout=120.0)
    until(lambda: site.agents(site.pool) == 1, 30.0, f"the agent is heard of: {site.far.show(site.agent, 'SubState')}")
    add_over_ssh(site, *over_ssh)


def add_over_ssh(site: Site, add: str, token: str, enrol: str, start: str) -> None:
    """Add the target's key on the far host; return once the agent beside the services has sent a heartbeat."""
    site.control.run(*typed(add))
    public = site.control.run("cat", f"/etc/writ-ssh/{OVER_SSH}.pub")
    site.far.run("tee", "-a", "/etc/ssh/lab_keys", stdin=f"{public}\n")
    said = site.control.run(*typed(token))
    site.control.run(*typed(enrol), stdin=said)
    site.control.run(*typed(start))
    until(lambda: site.agents("ssh") == 1, 30.0, f"it is heard of: {site.control.show(SSH_AGENT, 'SubState')}")


def fingerprint(host: Host) -> str:
    """Return the fingerprint as the host itself prints it."""
    return host.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub").split()[1]


def blocks(text: str) -> list[list[str]]:
    """Return the commands that root types, by the blocks of the text."""
    found = re.findall(r"^```console\n(# .*?)^```", text, re.MULTILINE | re.DOTALL)
    return [[line.removeprefix("# ") for line in block.splitlines()] for block in found]


def typed(line: str) -> tuple[str, ...]:
    """Return the command of a line of the text, run in the tree, with a local index."""
    return ("env", f"PIP_INDEX_URL=file://{INDEX}", "bash", "-c", f"cd /root/writ && {line}")


def give(host: Host, scratch: Path, distributions: tuple[str, ...]) -> None:
    """The units, and all wheels in one folder."""
    wheels.ours(scratch, *distributions)
    for wheel in wheels.third_party(*distributions).glob("*.whl"):
        shutil.copy(wheel, scratch)
    host.write(f"{INDEX}/writops/index.html", '<!DOCTYPE html><a href="writops-9-py3-none-any.whl">newer</a>')
    host.run("mkdir", "-p", "/root/writ/deploy")
    host.copy(scratch, "/root/writ/wheels")
    host.copy(UNITS, "/root/writ/deploy/systemd")


def declare(site: Site) -> None:
    """Declare the far host as several targets, so that several operations can run at once."""
    for number in range(1, TARGETS + 1):
        site.far.write(f"/etc/systemd/system/{COUNTED}-{number}.service", COUNTING.replace("%i", str(number)))
    site.far.run("systemctl", "daemon-reload")
    site.far.run("mkdir", "-p", ROOT)
    entries = [
        {
            "id": f"web-{number}",
            "role": "development",
            "backend": "local",
            "connection": {"host": site.far.name},
            "file_roots": [{"path": ROOT, "allow_system_root": True}],
        }
        for number in range(1, TARGETS + 1)
    ]
    inventory = json.dumps({"targets": entries})
    site.control.run("cp", "/dev/stdin", "/etc/writ/inventory.yaml", stdin=inventory)
