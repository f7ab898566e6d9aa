"""The lines about what is failing in an installation, as `writ status` and a second `writ up` show them. Pure."""

from collections.abc import Iterator

from writ_installation.processes.readiness import NO_ANSWER
from writ_installation.status.control import InstallationStatus
from writ_installation.status.degradation import degradations, mistakes_of


def failing_lines(status: InstallationStatus) -> Iterator[str]:
    """Yield each reason with its processes and, if there is one, the command that helps; below it, indented, the
    mistakes of a file.
    """
    for reason, names in degradations(status).items():
        head, mistakes = mistakes_of(_of_processes(names, reason) + _remedy(status, names))
        yield from (head, *(f"  {mistake}" for mistake in mistakes))


def degraded_reasons(status: InstallationStatus) -> list[str]:
    """Return each reason after the processes that it degrades, if any."""
    return [_of_processes(names, reason) for reason, names in degradations(status).items()]


def _of_processes(names: list[str], reason: str) -> str:
    """Return the reason after its processes, unless it begins with them."""
    processes = f"{', '.join(names)}: " if names else ""
    return reason if reason.startswith(processes) else f"{processes}{reason}"


def _remedy(status: InstallationStatus, names: list[str]) -> str:
    """Return the command that replaces processes of `writ up` that do not reply; "" where others may be the cause."""
    silent = [one.name for one in status.processes if one.state == NO_ANSWER]
    if status.pid is None or not names or not set(names) <= set(silent) or ("nats" in silent and names != ["nats"]):
        return ""
    return f"; if it stays so, `writ restart {' '.join(names)}` replaces {'it' if len(names) == 1 else 'them'}"
