"""Names of the files that Writ makes in its own folders: `writ uninstall` removes these alone, and lists any other."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from writ_documents.readers import read_inventory
from writ_installation.administration.target_edits import CREDENTIAL_ENDS
from writ_installation.backends import WITH_CREDENTIALS
from writ_installation.files.home import Home

IsOwn = Callable[[Path], bool]

_PROCESS = r"(?:up|nats|keeper|gateway|policy|executor|audit|agent-[A-Za-z0-9_-]+)(?:[-.][0-9]+)?(?:\.meanwhile)?"
"""Processes: `policy`, replicas as `policy.2` and `executor-2`, and the one that works while another is replaced."""
_RUN = rf"(?:streams\.|archive\.)?lock|archive-verified|(?:supervisor|{_PROCESS})\.json"
_KEYS = (
    r"[A-Za-z0-9_-]+(?:\.next)?\.seed|principal-[A-Za-z0-9_-]+\.new|params\.key|ca(?:-former)?\.key|routes\.key"
    r"|grafana\.password"
)
_passing = re.compile(r"\..+\.(?:draft|lock)").fullmatch
"""Files that are being written, and locks of files."""


class OwnFolder:
    """A folder that Writ makes, the purpose of its files, and a test for the paths in it that are Writ's.

    `within`: folders in it with a test of their own.
    """

    def __init__(self, path: Path, purpose: str, own: IsOwn, within: Sequence["OwnFolder"] = ()) -> None:
        self.path = path
        self.purpose = purpose
        self._own = own
        self._within = {one.path: one for one in within}

    def others(self) -> list[Path]:
        """Return the paths in it that are not Writ's; none of what a symbolic link names."""
        return [path for path in self._paths() if not self.owns(path) and path not in self._within]

    def owns(self, path: Path) -> bool:
        """Return whether Writ made this path in the folder, and all that is below it."""
        if path in self._within:
            return not self._within[path].others()
        return bool(_passing(path.name)) or self._own(path)

    def parts(self) -> Iterator[tuple[Path, str]]:
        """Yield the paths to remove: the folder, or if there are others in it, Writ's own."""
        paths = self._paths()
        mixed = any(not self.owns(path) for path in paths)
        return ((path, self.purpose) for path in ([one for one in paths if self.owns(one)] if mixed else [self.path]))

    def remove(self) -> Iterator[Path]:
        """Remove what is Writ's in it now, and the folder if it is empty then. Yield the removed paths.

        A folder that was wholly Writ's when it was listed may have got a file of others since.
        """
        if self.path.is_symlink() or self.path.is_file():
            own = [self.path]
        else:
            own = [path for path in self._paths() if path not in self._within and self.owns(path)]
        for path in own:
            delete(path)
            yield path
        remove_empty(self.path)

    def _paths(self) -> list[Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() and not self.path.is_symlink() else []


def own_folders(home: Home) -> list[OwnFolder]:
    """Return the folders of an installation that Writ alone writes to, in the order of their removal."""
    targets = _target_ids(home)
    credentials = [
        OwnFolder(home.credentials(backend), "private keys of targets", _named(targets)) for backend in WITH_CREDENTIALS
    ]
    certificates = OwnFolder(
        home.certificates, "certificates of NATS", _like(r"issued\.json|server-[0-9]+\.(?:pem|key)")
    )
    return [
        OwnFolder(home.run, "state of the running processes", _like(_RUN)),
        OwnFolder(home.log, "logs", _like(rf"{_PROCESS}\.log(?:\.1)?")),
        OwnFolder(home.state, "indexes and spools of the processes", _like(_PROCESS)),
        OwnFolder(
            home.servers,
            "configurations of NATS servers in containers",
            _like(r"[a-z0-9-]+\.conf|routes\.crt"),
            [certificates],
        ),
        certificates,
        OwnFolder(home.tokens, "tokens for agents of other hosts", _like(r"[A-Za-z0-9_-]+\.json")),
        OwnFolder(home.enrolled, "enrolments of agents", _like(r"[A-Za-z0-9_-]+")),
        OwnFolder(home.keys, "private keys of services, agents and principals", _like(_KEYS), credentials),
        *credentials,
        OwnFolder(home.people_seed.parent, "the key that signs people's credentials", _like(r"people\.seed")),
    ]


def delete(path: Path) -> None:
    """Remove a file, a symbolic link itself, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_empty(folder: Path) -> None:
    """Remove a folder if nothing is in it."""
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _like(pattern: str) -> IsOwn:
    matches = re.compile(pattern).fullmatch
    return lambda path: matches(path.name) is not None


def _named(targets: list[str]) -> IsOwn:
    names = {f"{target}{end}" for target in targets for end in CREDENTIAL_ENDS}
    return lambda path: path.name in names


def _target_ids(home: Home) -> list[str]:
    return [target.id for target in read_inventory(home.inventory).targets] if home.inventory.exists() else []
