"""The units of deploy/systemd on this machine, with their folders: list, stop and remove them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from writ_contracts.errors import Conflict

UNITS = (
    "writ.target",
    "writ-nats.service",
    "writ-keeper.service",
    "writ-policy@.service",
    "writ-executor@.service",
    "writ-audit@.service",
    "writ-gateway.service",
    "writ-agent-local@.service",
    "writ-agent-ssh@.service",
    "writ-agent-docker@.service",
    "writ-agent-proxmox@.service",
)
"""All units that are shipped."""
PATTERNS = tuple(name.replace("@.", "@*.") if "@" in name else f"{name}*" for name in UNITS)
"""For systemctl, which fails for a name that it has not loaded, and not for a pattern that nothing matches."""
USERS = ("writ", "writ-agent-ssh", "writ-agent-docker", "writ-agent-proxmox")
GROUPS = ("writ-tls", "writ-nats-log")
_STATE = re.compile(r"writ-(?:policy|audit)-[0-9]+|writ-agent-[A-Za-z0-9_-]+").fullmatch
_environment = re.compile(r"^EnvironmentFile=(/.*)/writ\.env$", re.MULTILINE).search
PATIENCE = 180.0
"""Seconds for systemd to stop everything; a service has 45."""


class SystemPaths(Struct, frozen=True, kw_only=True):
    """The folders of the machine that have parts of an installation. `systemctl`: its command, None for none."""

    units: Path
    sysusers: Path
    state: Path
    agents: Path
    programs: Path
    logs: Path = Path("/var/log")
    systemctl: str | None = "systemctl"


DEFAULT = SystemPaths(
    units=Path("/etc/systemd/system"),
    sysusers=Path("/etc/sysusers.d/writ.conf"),
    state=Path("/var/lib"),
    agents=Path("/etc/writ"),
    programs=Path("/opt/writ"),
)


def home(system: SystemPaths) -> Path:
    """Return the folder of the installation that the units here read; the usual one where none is left."""
    for path in (system.units / name for name in UNITS):
        if path.exists() and (found := _environment(path.read_text(errors="replace"))):
            return Path(found[1])
    return system.agents


def parts(system: SystemPaths) -> Iterator[tuple[Path, str]]:
    """Yield the paths of units, users and state."""
    for name in UNITS:
        yield system.units / name, "a unit"
    yield system.sysusers, "the users of the units"
    for folder in (system.state / "private", system.state):
        for path in sorted(folder.glob("writ-*")):
            if _STATE(path.name):
                yield path, "state of a unit"
    for path in (system.logs / "private" / "writ-nats", system.logs / "writ-nats"):
        yield path, "the log of NATS"
    for path in sorted(system.agents.glob("agent-*")):
        if path.suffix in (".env", ".seed"):
            yield path, "key and settings of an agent here"


def by_hand(system: SystemPaths) -> Iterator[str]:
    """Yield the steps that are left to people."""
    for name in UNITS:
        if (folder := system.units / f"{name}.d").is_dir():
            yield f"{folder}: settings of yours for a unit"
    yield f"users and groups: `userdel` for {', '.join(USERS)}, `groupdel` for {', '.join(GROUPS)}"
    if system.programs.exists():
        yield f"{system.programs}: the programs, which run this command: `rm -r {system.programs}` at last"


def stop(system: SystemPaths) -> None:
    """Stop all units and disable them. Raises Conflict where systemd does not."""
    _systemctl(system, "stop", *PATTERNS)
    enabled = [path for path in system.units.glob("*.wants/writ*") if path.is_symlink()]
    if names := sorted({path.name for path in enabled}):
        _systemctl(system, "disable", *names)


def forget(system: SystemPaths) -> None:
    """Have systemd read its units again, and remove the folder of NATS's unit where the journal is gone."""
    for path in (system.state / "private" / "writ-nats", system.state / "writ-nats"):
        if path.is_symlink() and not path.exists():
            path.unlink()
        elif path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    _systemctl(system, "daemon-reload")
    _systemctl(system, "reset-failed", *PATTERNS)


def _systemctl(system: SystemPaths, *words: str) -> None:
    program = shutil.which(system.systemctl) if system.systemctl else None
    if program is None:
        raise Conflict("there is no systemctl here: nothing was removed")
    try:
        ran = subprocess.run([program, *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise Conflict(f"systemctl {words[0]} did not end in {PATIENCE:.0f} s: nothing more was removed") from None
    if ran.returncode:
        raise Conflict(f"systemctl {words[0]}: {ran.stderr.strip()[:300]}")
