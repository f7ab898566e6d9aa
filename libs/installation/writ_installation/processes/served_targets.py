"""The targets that this machine serves, by the credentials that it has."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from writ_contracts.backends import LOCAL
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.nearest_name import near
from writ_documents.readers import read_agents, read_inventory
from writ_installation.backends import AgentKind
from writ_installation.files.home import Home, is_here


def credential_folder(kind: AgentKind, backend: str, home: Home, environ: Mapping[str, str]) -> Path:
    """Return the folder of the credentials of a backend: as the environment has it, else that of the installation."""
    return Path(environ.get(kind.credentials) or home.credentials(backend)).absolute()


def credential_folders(kinds: Mapping[str, AgentKind], home: Home, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders of all credentials: a new file in one of them makes a target served here."""
    named = ((kind, backend) for backend, kind in kinds.items() if kind.credentials)
    return [credential_folder(kind, backend, home, environ) for kind, backend in named]


def served_here(
    targets: Iterable[Target], kinds: Mapping[str, AgentKind], home: Home, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the pools this machine serves, each with its backend. The agents of other pools run elsewhere."""
    found: dict[str, str] = {}
    for target in targets:
        kind = kinds.get(target.backend)
        if kind is not None and _is_served(target, kind, home, environ):
            found.setdefault(target.pool, target.backend)
    return found


def check_left_out(named: Collection[str], home: Home, backends: Iterable[str]) -> None:
    """Raise Invalid for a pool of `writ up --no-agent` that is neither in the inventory, in agents.yaml, nor that of a
    backend: a misspelt one would leave nothing out.
    """
    if not named:
        return
    pools = {target.pool for target in read_inventory(home.inventory).targets}
    pools |= {agent.pool for agent in read_agents(home.agents).agents} | (set(backends) - {LOCAL})
    for name in sorted(set(named) - pools):
        hint = near(name, pools) or f"; there are {', '.join(sorted(pools))}"
        raise Invalid(f"--no-agent: there is no pool {name[:80]!r}{hint}", code="invalid_parameters")


def _is_served(target: Target, kind: AgentKind, home: Home, environ: Mapping[str, str]) -> bool:
    if kind.credentials:
        folder = credential_folder(kind, target.backend, home, environ)
        return any((folder / name).is_file() for name in (target.id, f"{target.id}.pub"))
    return is_here(str(target.connection.get("host", target.id)))
