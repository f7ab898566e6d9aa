"""What the policy services say of themselves once `writ up` has started them. Pure."""

from collections.abc import Iterator, Mapping

from writ_installation.processes.readiness import Readiness
from writ_installation.status.control import ProcessStatus
from writ_installation.status.degradation import mistakes_of

Observed = Mapping[str, Readiness | ProcessStatus]
"""By the name of the process."""


def problems(processes: Observed) -> list[str]:
    """Return what degrades decisions, such as a policy file that is not in force: each reason once, and below it the
    mistakes of the file with their places.
    """
    return list(dict.fromkeys(_problems(processes)))


def failing_checks(processes: Observed) -> list[str]:
    """Return the same reasons as one text each, as `writ status -o json` has them in `degraded`."""
    return list(dict.fromkeys(f"{check}: {why}" for one in _policies(processes) for check, why in one.failing.items()))


def _problems(processes: Observed) -> Iterator[str]:
    for reason in failing_checks(processes):
        head, mistakes = mistakes_of(reason)
        yield "\n".join((head, *(f"  {mistake}" for mistake in mistakes)))


def notes(processes: Observed) -> list[str]:
    """Return what a person should know although nothing is degraded: a policy file that is not used since somebody
    published, dry runs alone, stops and emergencies.
    """
    found = (one.details.get(check, "") for one in _policies(processes) for check in ("policy", "control"))
    return list(dict.fromkeys(filter(None, found)))


def _policies(processes: Observed) -> Iterator[Readiness | ProcessStatus]:
    return (one for name, one in processes.items() if name.partition("-")[0] == "policy")
