"""The installation and the context of a command that names neither.

An installation's folder `.writ` is searched upwards from the working directory, as git searches its own. Where there is
none, the current context of `writ context use` counts, a file in `~/.config/writ` (or `$XDG_CONFIG_HOME/writ`).
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from writ_bus.private_files import as_user
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.nearest_name import near
from writ_documents.atomic_files import write_atomically

FOLDER = ".writ"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch


def present_folder() -> Path:
    """Return the folder in which the command runs. Raises ConfigError if it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the folder in which this command runs was removed: change to another one") from None


def found_home(start: Path) -> Path | None:
    """Return the nearest `.writ` from `start` upwards that belongs to this user: in a shared folder anybody could put
    one, with a server and a policy of their own, and a link to this user's key.

    Raises ConfigError for one of another user in `start` itself, unless it is root's, or the user's who called sudo.
    """
    for folder in (start, *start.parents):
        found = folder / FOLDER
        if not found.is_dir():
            continue
        owners = {found.lstat().st_uid, found.stat().st_uid}  # of a link, and of its target
        if owners == {os.geteuid()}:
            return found
        if folder == start:
            _check_owners(found, owners)
            return found
    return None


def _check_owners(found: Path, owners: Collection[int]) -> None:
    caller = os.environ.get("SUDO_UID", "") if os.geteuid() == 0 else ""
    trusted = {0, os.geteuid(), *([int(caller)] if caller.isdecimal() else [])}
    if strange := sorted(set(owners) - trusted):
        raise ConfigError(
            f"{found} belongs to another user (uid {strange[0]}), who could have put a server of their own there: "
            f"{as_user(strange[0])}. A command that needs no key also takes --home {found}"
        )


def check_readable(home: Path) -> None:
    """Raises ConfigError for an installation's folder that this user may not read."""
    if home.is_dir() and not os.access(home, os.R_OK | os.X_OK):
        owner = home.stat().st_uid
        if owner == os.geteuid():
            raise ConfigError(f"you may not read your folder {home.absolute()}: `chmod u+rwx {home.absolute()}`")
        raise ConfigError(
            f"{home.absolute()} belongs to another user (uid {owner}), and you may not read it: {as_user(owner)}. In "
            "another folder, `writ up` creates an installation of your own"
        )


class ContextFolder:
    """The saved contexts of a user, and the name of the current one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config"
        self.path = Path(base) / "writ"
        self._current = self.path / "current"

    def file(self, name: str) -> Path:
        """Return the file of a context of that name. Raises Invalid for what cannot be a name."""
        if not _NAME(name):
            raise Invalid(f"{name[:80]!r} cannot name a context: letters, digits, -, _ and ., at most 64")
        return self.path / f"{name}.json"

    def names(self) -> list[str]:
        return sorted(one.stem for one in self.path.glob("*.json"))

    def named(self, context: Path) -> Path:
        """Return the file of this path, else the one of the saved context of this name, if there is one."""
        return self.file(str(context)) if not context.exists() and str(context) in self.names() else context

    @property
    def current(self) -> str | None:
        """Return the name of the current context; None where none is chosen."""
        try:
            return self._current.read_text().strip() or None
        except FileNotFoundError:
            return None

    def current_file(self) -> Path | None:
        """Return the file of the current context. Raises Invalid if it no longer exists."""
        return None if self.current is None else self.known(self.current)

    def known(self, name: str) -> Path:
        """Return the file of a saved context. Raises Invalid."""
        path = self.file(name)
        if not path.exists():
            hint = near(name, self.names()) or "; `writ context list` shows them"
            raise Invalid(f"there is no context {name!r} in {self.path}{hint}", code="not_found")
        return path

    def use(self, name: str | None) -> None:
        """Make a saved context the current one; None: none."""
        if name is None:
            self._current.unlink(missing_ok=True)
            return
        self.known(name)
        write_atomically(self._current, f"{name}\n".encode())

    def remove(self, name: str) -> None:
        """Remove a saved context; if it is the current one, none is afterwards. Raises Invalid."""
        path = self.known(name)
        if self.current == name:
            self.use(None)
        path.unlink()

    def save(self, name: str, content: bytes) -> Path:
        """Save a context under a name, for its owner alone."""
        path = self.file(name)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, content)
        return path
