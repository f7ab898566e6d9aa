"""Checks before processes are started: distributions that must be installed, and former ones that must not be.

The services are not imported: a client's command is installed without them.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec

from writ_contracts.errors import ConfigError, Unreachable
from writ_installation.backends import AGENT_KINDS, MODULE

EXTRAS = {
    "writ_policy": "server",
    "writ_executor": "server",
    "writ_audit": "server",
    "writ_gateway.http": "mcp",
    **{kind.argv[len(MODULE)]: kind.extra for kind in AGENT_KINDS.values()},
}
"""The extra of writops with the module of a process."""
FORMER = (
    *("writ-contracts", "writ-trust", "writ-bus", "writ-runtime", "writ-rules", "writ-client", "writ-testing"),
    *("writ-policy", "writ-executor", "writ-audit"),
    *("writ-agent", "writ-hostops", "writ-agent-local", "writ-agent-ssh"),
)
"""The distributions of Writ before they were named writops-…; some of these names belong to other people."""


def require(commands: Iterable[Sequence[str]]) -> None:
    """Raise Unreachable, with what to install, unless the module of each command is here."""
    modules = {argv[len(MODULE)]: None for argv in commands if tuple(argv[: len(MODULE)]) == MODULE}
    lacking = [module for module in modules if module in EXTRAS and find_spec(module.partition(".")[0]) is None]
    if lacking:
        extras = ",".join(dict.fromkeys(EXTRAS[module] for module in lacking))
        raise Unreachable(
            f"{', '.join(lacking)} can't be started, since it is not installed here: install `writops[{extras}]` into"
            f" {sys.prefix}, from where `writops` came (docs/install.md)"
        )


def refuse_former() -> None:
    """Raise ConfigError, with the way to move, where former distributions are installed: their files overlap with
    today's.
    """
    found = [one for name in FORMER if (one := _installed(name)) is not None]
    if found:
        names = ", ".join(f"{one.metadata['Name']} {one.version}" for one in found)
        raise ConfigError(
            f"{sys.prefix} also holds Writ as it was packaged before: {names}. Those have the same files as writops-…:"
            " remove this environment and install `writops` into a new one; keys and journal are elsewhere, and stay"
            " (docs/install.md)"
        )


def _installed(name: str) -> Distribution | None:
    """Return the distribution where it is one of ours: it contains our package, or refers to it in a source tree."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    package = f"{name.replace('-', '_')}/"
    ours = any(str(file).startswith(package) or str(file).endswith(".pth") for file in found.files or ())
    return found if ours else None
