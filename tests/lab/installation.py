"""One Writ for the lab: `writ up` on the control side, the local agent on a host, set up as an operator would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tests.lab import wheels
from tests.lab.hosts import Host, until

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "writ-agent-local.service"
AGENT = "writ-agent-local"
ROOT = "/srv/data"
WRIT = str(Path(sys.executable).with_name("writ"))


POLICY = """policies:
  version: "v1"
  name: lab
  deny_by_default: true
  require_approval_for_admin: false
  role_policies:
    development:
      - name: operators_work_on_the_lab
        operations: [service_status, service_start, service_stop, service_restart, file_read, file_write, file_delete,
          network_status]
        allowed: true
"""


class Writ:
    """The command line, on one `$WRIT_HOME`."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def call(self, *words: str, timeout: float = 120.0) -> tuple[int, str, str]:
        """Exit status, output, errors of `writ …`."""
        done = subprocess.run(
            [WRIT, *words], env=self.environ(), capture_output=True, text=True, timeout=timeout, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def environ(self) -> dict[str, str]:
        """Nothing of Writ's but its folder."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WRIT_", "NATS_", "SYSTEMM"))}
        return {**kept, "WRIT_HOME": str(self.home)}

    def json(self, *words: str, status: int = 0, timeout: float = 120.0) -> Any:
        """What `writ … -o json` says; an AssertionError with its errors on another exit status than `status`."""
        code, output, errors = self.call(*words, "-o", "json", timeout=timeout)
        assert code == status, f"writ {' '.join(words)} gave {code}, not {status}: {output}{errors}"
        return json.loads(output)

    def run(self, operation: str, *parameters: str, status: int = 0, target: str = "host1") -> dict[str, Any]:
        """Asks and waits; the operation as it ended."""
        return dict(self.json("run", operation, "--target", target, *parameters, status=status))

    def begin(self, operation: str, *parameters: str, target: str = "host1") -> str:
        """Asks, and returns the operation's id when an agent has started it."""
        answer = self.json("run", operation, "--target", target, "--no-wait", *parameters)
        number = str(answer["operation_id"])
        until(lambda: "started" in self.kinds(number), 20.0, f"{operation} starts")
        return number

    def trace(self, number: str) -> list[dict[str, Any]]:
        """All events on record of an operation."""
        return list(self.json("trace", number)["events"])

    def kinds(self, number: str) -> list[str]:
        """What kinds of events they are, in order."""
        return [event["kind"] for event in self.trace(number)]

    def ended(self, number: str, within: float) -> dict[str, Any]:
        """The operation when it has an outcome."""

        def look() -> dict[str, Any] | None:
            view = self.call("op", "get", number, "-o", "json")[1]
            found = json.loads(view) if view else {}
            return found if found.get("outcome") else None

        return until(look, within, f"operation {number} ends")


def start(home: Path, listen: str, targets: dict[str, Host]) -> Writ:
    """`writ up` with these hosts as its targets, in the role development."""
    home.mkdir(mode=0o700)
    inventory = [
        {"id": name, "role": "development", "backend": "local", "connection": {"host": name}, "file_roots": [ROOT]}
        for name in targets
    ]
    (home / "inventory.yaml").write_text(yaml.safe_dump({"targets": inventory}))
    (home / "policy.yaml").write_text(POLICY)
    writ = Writ(home)
    writ.json("up", "--detach", "--listen", listen)
    return writ


def install_agent(writ: Writ, host: Host, scratch: Path) -> None:
    """From wheels, without a network, as deploy/README.md says; returns when the agent is heard of."""
    wheels.ours("writ-agent-local", scratch)
    host.copy(wheels.third_party("writ-agent-local"), "/srv/wheels")
    host.copy(scratch, "/srv/wheels-of-writ")
    host.run("python3", "-m", "venv", "/opt/writ", timeout=120.0)
    found = ["--no-index", "--find-links", "/srv/wheels", "--find-links", "/srv/wheels-of-writ"]
    host.run("/opt/writ/bin/pip", "install", "--quiet", *found, "writ-agent-local", timeout=120.0)

    pool = f"local-{host.name}"
    status, environment, errors = writ.call("agent-env", pool, "--key-file", "/etc/writ/agent.seed")
    assert status == 0, errors
    host.write("/etc/writ/agent-local.env", environment)
    host.write("/etc/writ/agent.seed", (writ.home / "keys" / f"agent-{pool}.seed").read_text(), "0600")
    host.write(f"/etc/systemd/system/{AGENT}.service", UNIT.read_text())
    host.run("systemctl", "enable", "--now", AGENT)
    until(
        lambda: agents(writ, host) == 1, 30.0, f"the agent on {host.name} is heard of: {host.show(AGENT, 'SubState')}"
    )


def agents(writ: Writ, host: Host) -> int:
    """How many agents of the host's pool are there."""
    targets = writ.json("targets")
    listed = targets["targets"] if isinstance(targets, dict) else targets
    return int(next(one["agents"] for one in listed if one["id"] == host.name))
