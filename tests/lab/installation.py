"""The installation of the lab: `writ up` on the control side, and the local agent on a host, set up as documented."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab import wheels
from tests.lab.hosts import Host, until

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
AGENT = "writ-agent-local@local-host1"
WRIT = str(Path(sys.executable).with_name("writ"))


class Writ:
    """The command line, on one `$WRIT_HOME`. `target` is the default target of each call."""

    def __init__(self, home: Path, target: str = "") -> None:
        self.home = home
        self.target = target

    def call(self, *words: str, timeout: float = 120.0) -> tuple[int, str, str]:
        """Exit status, output, errors of `writ …`."""
        done = subprocess.run(
            [WRIT, *words], env=self.environ(), capture_output=True, text=True, timeout=timeout, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def environ(self) -> dict[str, str]:
        """Return an environment with no variable of Writ but its folder."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WRIT_", "NATS_", "SYSTEMM"))}
        return {**kept, "WRIT_HOME": str(self.home)}

    def json(self, *words: str, status: int = 0, timeout: float = 120.0) -> Any:
        """Return the output of `writ … -o json`; raise AssertionError with its errors unless the exit status is
        `status`.
        """
        code, output, errors = self.call(*words, "-o", "json", timeout=timeout)
        assert code == status, f"writ {' '.join(words)} gave {code}, not {status}: {output}{errors}"
        return json.loads(output)

    def run(self, operation: str, *parameters: str, status: int = 0, target: str = "") -> dict[str, Any]:
        """Send the request and wait; return the ended operation."""
        return dict(self.json("run", operation, "--target", target or self.target, *parameters, status=status))

    def begin(self, operation: str, *parameters: str, target: str = "") -> str:
        """Send the request; return the operation's id when an agent has started it."""
        answer = self.json("run", operation, "--target", target or self.target, "--no-wait", *parameters)
        number = str(answer["operation_id"])
        until(lambda: "granted" in self.kinds(number), 20.0, f"{operation} starts")
        return number

    def trace(self, number: str) -> list[dict[str, Any]]:
        """Return all recorded events of an operation."""
        return list(self.json("trace", number)["events"])

    def kinds(self, number: str) -> list[str]:
        """Return the kinds of the events, in order."""
        return [event["kind"] for event in self.trace(number)]

    def ended(self, number: str, within: float) -> dict[str, Any]:
        """The operation when it has an outcome."""

        def check() -> dict[str, Any] | None:
            view = self.call("op", "show", number, "-o", "json")[1]
            found = json.loads(view) if view else {}
            return found if found.get("outcome") else None

        return until(check, within, f"operation {number} ends")

    def agents(self, pool: str) -> int:
        """Return how many agents serve the pool."""
        return max(int(one["agents"]) for one in self.json("target", "list") if one["pool"] == pool)


def start(home: Path, listen: str, inventory: list[dict[str, Any]], policy: dict[str, Any]) -> Writ:
    """`writ up` with these targets, under this policy."""
    home.mkdir(mode=0o700)
    (home / "inventory.yaml").write_text(json.dumps({"targets": inventory}))
    (home / "policy.yaml").write_text(json.dumps(policy))
    writ = Writ(home)
    writ.json("up", "--detach", "--listen", listen, "--nats-port", "0")
    return writ


def pool_of(host: Host) -> str:
    """Return the pool of the agent on the host."""
    return f"local-{host.name}"


def install_agent(writ: Writ, host: Host, scratch: Path) -> None:
    """Install the agent as docs/operating/add-and-remove.md says; return when it has sent a heartbeat."""
    install(host, scratch, wheels.AGENT)
    unit, pool = "writ-agent-local@.service", pool_of(host)
    host.write(f"/etc/systemd/system/{unit}", (UNITS / unit).read_text())
    made = writ.json("agent", "token", pool)
    host.run("/opt/writ/bin/writ-enrol", stdin=made["token"])
    host.run("systemctl", "enable", "--now", AGENT)
    until(lambda: writ.agents(pool) == 1, 30.0, f"the agent is heard of: {host.show(AGENT, 'SubState')}")


def install(host: Host, scratch: Path, distributions: tuple[str, ...]) -> None:
    """Install it in /opt/writ, from wheels, without a network."""
    wheels.ours(scratch, *distributions)
    host.copy(wheels.third_party(*distributions), "/srv/wheels")
    host.copy(scratch, "/srv/wheels-of-writ")
    host.run("python3", "-m", "venv", "/opt/writ", timeout=120.0)
    found = ["--no-index", "--find-links", "/srv/wheels", "--find-links", "/srv/wheels-of-writ"]
    host.run("/opt/writ/bin/pip", "install", "--quiet", *found, *distributions, timeout=120.0)
