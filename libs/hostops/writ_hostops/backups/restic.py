"""Run restic for one target. Repository and password reach it by its environment, never by an argument.

A backup of Writ has the tags `writ`, `writ-id=<backup id>` and `writ-op=<digest of the operation id>`, more for the
kind and mode of the tree, and the target's `host` name. Anything else in the repository is neither read nor touched.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional, Sequence, Tuple

from writ_hostops import commands
from writ_hostops.backups.left_locks import is_left
from writ_hostops.commands import Line, ProgramResult
from writ_hostops.errors import HostError
from writ_hostops.protocol import OperationCall
from writ_hostops.stop import CancelToken

_NO_REPOSITORY, _LOCKED, _WRONG_PASSWORD = 10, 11, 12
INCOMPLETE = 3
"""restic's exit status if some files could not be read."""
_COMMON = ("--json", "--no-cache")
_FULL = os.strerror(errno.ENOSPC).lower()
"""As Go prints this error. restic's exit status does not tell it from others."""


@dataclass(frozen=True)
class StoredBackup:
    """A backup in the repository. `reference` is restic's whole id; `created_at` in Unix seconds."""

    reference: str
    backup_id: str
    operation_id: str
    path: str
    created_at: float
    size: Optional[int]
    tags: Dict[str, str]

    def entry(self) -> Dict[str, Any]:
        """Return the backup in the form of backup_list."""
        return {
            "backup_id": self.backup_id,
            "created_at": self.created_at,
            "target_path": self.path,
            "size": self.size,
            "reference": self.reference,
        }


class Restic:
    """The repository of a call's target. HostError `not_declared`, `tool_missing`, `unavailable`."""

    def __init__(self, call: OperationCall) -> None:
        backup = call.target.backup
        if backup is None:
            raise HostError("not_declared", "the target declares no backup repository")
        commands.found("restic")
        if not os.path.isfile(backup.password_file):
            raise HostError("unavailable", "the password_file that the target declares is not on this host")
        if not os.access(backup.password_file, os.R_OK):
            raise HostError("permission_denied", "this user may not read the password_file that the target declares")
        self.host = backup.host or os.uname().nodename
        self._call = call
        self._environment = {
            "RESTIC_REPOSITORY": backup.repository,
            "RESTIC_PASSWORD_FILE": backup.password_file,
            "RESTIC_PROGRESS_FPS": "0.5",
        }

    def kept(self, stop: CancelToken) -> List[StoredBackup]:
        """Return Writ's own backups of this host, newest first. Takes no lock and writes nothing."""
        ran = self._run_once(["snapshots", "--no-lock", f"--host={self.host}", "--tag=writ"], stop)
        ran.refuse_stopped("the read of the repository")
        self.refuse(ran, "none")
        backups = [_kept(item) for item in _list(ran.whole("restic")) if item.get("hostname") == self.host]
        ours = [one for one in backups if one.backup_id]
        return sorted(ours, key=lambda one: one.created_at, reverse=True)

    def of(self, backup_id: str, stop: CancelToken) -> List[StoredBackup]:
        """Return the backups with exactly this id."""
        return [one for one in self.kept(stop) if one.backup_id == backup_id]

    def run(self, words: Sequence[str], folder: Optional[int] = None, line: Optional[Line] = None) -> ProgramResult:
        """Run restic with these arguments. A lock of a process that may be alive is waited for. Locks that processes of
        this user on this host left are removed if there are no others.
        """

        progress, waited = self._call.progress, False

        def attempt() -> ProgramResult:
            nonlocal waited
            if waited:  # restic does not say when it has the lock, and may then run for long
                progress("tries again to lock the backup repository")
            waited = True
            ran = self._run_once(words, self._call.stop, folder, line)
            if is_busy(ran) and self._has_only_left_locks():
                self._run_once(["unlock"], self._call.stop)
                ran = self._run_once(words, self._call.stop, folder, line)
            return ran

        def is_busy(ran: ProgramResult) -> bool:
            return not ran.stopped and _is_locked(ran)

        advice = ". If no restic is at work there, remove it: restic unlock"
        return commands.while_busy(attempt, is_busy, self._call.stop, progress, "the backup repository", advice)

    def shown(self, words: Sequence[str], folder: str = "") -> str:
        """Return the command for people, with its folder and without repository and password."""
        command = shlex.join(["restic", *_COMMON, *words])
        return f"cd {shlex.quote(folder)} && {command}" if folder else command

    def refuse(self, ran: ProgramResult, effect: str) -> None:
        """Raise the HostError for an exit status other than success."""
        if not ran.status:
            return
        code, message = {
            _NO_REPOSITORY: ("unavailable", "there is no restic repository where the target declares one: restic init"),
            _LOCKED: ("busy", "another program holds the lock of the backup repository"),
            _WRONG_PASSWORD: ("permission_denied", "the declared password is not that of the backup repository"),
        }.get(ran.status, ("tool_failed", f"restic failed (exit status {ran.status})"))
        if code == "tool_failed" and _FULL in ran.errors:
            code, message = "no_space", "restic found no room; `log` has the file that it could not write"
        raise HostError(code, message, effect=effect, output={"log": printed(ran)})

    def _has_only_left_locks(self) -> bool:
        listed = self._run_once(["list", "locks", "--no-lock"], self._call.stop)
        if listed.status or listed.stopped or listed.cut:
            return False
        for name in listed.out.split():
            lock = self._run_once(["cat", "lock", "--no-lock", name], self._call.stop)
            if lock.status or lock.stopped or not is_left(lock.out):  # one was removed meanwhile, say
                return False
        return True

    def _run_once(
        self, words: Sequence[str], stop: CancelToken, folder: Optional[int] = None, line: Optional[Line] = None
    ) -> ProgramResult:
        return commands.run(["restic", *_COMMON, *words], stop, environment=self._environment, folder=folder, line=line)


def messages(text: str, kind: str) -> List[Dict[str, Any]]:
    """Return restic's messages of this type, in order. Lines without a message are left out."""
    objects = (_object(line) for line in text.splitlines())
    return [message for message in objects if message.get("message_type") == kind]


def summary(ran: ProgramResult) -> Dict[str, Any]:
    """Return restic's last summary; empty without one."""
    summaries = messages(ran.out, "summary")
    return summaries[-1] if summaries else {}


def progress_reporter(call: OperationCall, doing: str) -> Line:
    """Return a function that reports progress from restic's status messages."""

    def report(line: str) -> None:
        message = _object(line)
        if message.get("message_type") == "status":
            percent = message.get("percent_done")
            part = f"{percent * 100:.0f} %" if isinstance(percent, (int, float)) else "under way"
            call.progress(f"{doing}: {part}")

    return report


def spoiled(ran: ProgramResult) -> List[str]:
    """Return the paths in the backup of files that restic could not restore or verify, by its error messages."""
    errors = messages(ran.out, "error") + messages(ran.errors, "error")
    return [str(message["item"]) for message in errors if isinstance(message.get("item"), str)]


def item(line: str) -> Tuple[str, str, int]:
    """Parse a `verbose_status` message of a restore into action, path in the backup and size. The action of any other
    line is "".
    """
    message = _object(line)
    if message.get("message_type") != "verbose_status":
        return "", "", 0
    size = message.get("size")
    return str(message.get("action")), str(message.get("item")), size if isinstance(size, int) else 0


def printed(ran: ProgramResult) -> str:
    """Return the program's output without its status messages."""
    lines = (ran.out + ran.errors).splitlines()
    return "\n".join(line for line in lines if '"message_type":"status"' not in line)[-commands.MOST_LOG :]


def could_not_lock(ran: ProgramResult) -> bool:
    """Return True if restic ended since it could not write its lock, such as to a full disk."""
    return bool(ran.status) and "unable to create lock in backend" in ran.errors and not _is_locked(ran)


def _is_locked(ran: ProgramResult) -> bool:
    return ran.status == _LOCKED or (ran.status == 1 and "repository is already locked" in ran.errors)


def _list(text: str) -> List[Dict[str, Any]]:
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise HostError("garbled", "restic's output cannot be parsed")
    return items


def _object(line: str) -> Dict[str, Any]:
    try:
        value = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _kept(item: Dict[str, Any]) -> StoredBackup:
    try:
        tags = dict(tag.partition("=")[::2] for tag in item.get("tags") or ())
        size = (item.get("summary") or {}).get("total_bytes_processed")
        return StoredBackup(
            reference=_reference(item["id"]),
            backup_id=tags.get("writ-id", ""),
            operation_id=tags.get("writ-op", ""),
            path=str(item["paths"][0]),
            created_at=_moment(item["time"]),
            size=size if isinstance(size, int) else None,
            tags=tags,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise HostError("garbled", "restic's list has a snapshot that cannot be parsed") from None


def _reference(text: str) -> str:
    """Check for a whole id: restic takes any prefix for an id."""
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError
    return text


def _moment(text: str) -> float:
    """Parse RFC 3339 with nanoseconds, which Python 3.9 does not read."""
    day, rest = text[:19], text[19:]
    offset = "+00:00" if rest.endswith("Z") else rest[-6:]
    fraction = rest[: -1 if rest.endswith("Z") else -6]
    whole = datetime.fromisoformat(day + offset).astimezone(timezone.utc).timestamp()
    return whole + (float(f"0{fraction}") if fraction else 0.0)
