"""Private keys, read from files nobody else can read."""

import os
import pwd
import stat
from pathlib import Path

from writ_contracts.errors import ConfigError

LARGEST_KEY = 4096


def read_private(path: Path) -> bytes:
    """Return a private key file without its line end; ConfigError unless it is ours (or root's) and closed to
    others.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _require_private(path, os.fstat(descriptor))
            data = file.read(LARGEST_KEY + 1).strip()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    if not data or len(data) > LARGEST_KEY:
        raise ConfigError(f"{path}: holds no key")
    return data


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: is not a regular file")
    if status.st_mode & (0o027 if _is_credential(path, status) else 0o077):
        raise ConfigError(f"{path}: others can read it (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0):
        own = user_name(os.geteuid()) or str(os.geteuid())
        raise ConfigError(
            f"{path}: belongs to another user (uid {status.st_uid}), who alone may use it: {as_user(status.st_uid)};"
            f" if the key is yours, `chown {own} {path}`"
        )


def as_user(uid: int) -> str:
    """Return the advice to run a command as that user. `su` is on cron's PATH, and sets the user's HOME."""
    name = user_name(uid)
    command = f" (`su {name} -c 'COMMAND'`)" if name else ""
    return f"run the command as that user{command}, in cron by that user's crontab"


def user_name(uid: int) -> str:
    """Return the name of a user, "" if there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _is_credential(path: Path, status: os.stat_result) -> bool:
    """Return whether systemd has put it there for this process alone (systemd.exec(5), LoadCredential=): root's, and
    read by our user through an access list, whose mask stat(2) shows as the group's bits (acl(5)).
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(folder) and status.st_uid == 0 and path.parent == Path(folder)
