"""The targets that this machine serves, by the credentials that it has."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from writ_contracts.inventory import Target
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


def _is_served(target: Target, kind: AgentKind, home: Home, environ: Mapping[str, str]) -> bool:
    if kind.credentials:
        folder = credential_folder(kind, target.backend, home, environ)
        return any((folder / name).is_file() for name in (target.id, f"{target.id}.pub"))
    return is_here(str(target.connection.get("host", target.id)))
