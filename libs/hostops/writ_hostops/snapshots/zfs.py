"""Snapshots of a zfs dataset by zfs(8): of the dataset mounted at exactly the path."""

from __future__ import annotations

import os
import re
import shlex
from typing import Callable, Dict, List, Sequence, Tuple

from writ_hostops import commands
from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError, system_errors
from writ_hostops.protocol import OperationCall
from writ_hostops.snapshots.store import Snapshot
from writ_hostops.stop import CancelToken, afterwards

_OPERATION, _DESCRIPTION = "writ:operation", "writ:description"
_NONE = "-"
_MOUNTS = "/proc/self/mountinfo"
_KINDS = ("zfs", "fuse.zfs")


def datasets() -> List[Tuple[str, str]]:
    """Return the mount point and name of each mounted dataset, by the kernel (proc(5), mountinfo)."""
    with system_errors(_MOUNTS), open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split() for line in file]
    mounted = []
    for words in lines:
        kind, source = words[words.index("-") + 1 :][:2]
        if kind in _KINDS:
            mounted.append((_plain(words[4]), _plain(source)))
    return mounted


def _plain(word: str) -> str:
    """Decode octal escapes such as those of spaces."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), word)


class ZfsStore:
    """A Store by zfs(8)."""

    def __init__(self, path: str, dataset: str, call: OperationCall) -> None:
        self._path, self._dataset, self._call = path, dataset, call
        self._changed = False

    def all(self) -> List[Snapshot]:
        if not self._changed:
            return self._listed(self._call.stop)
        with afterwards() as patience:
            return self._listed(patience)

    def create(self, name: str, description: str, operation_id: str) -> None:
        words = self._words("create", Snapshot(name, 0.0, description, operation_id))
        self._change(words, lambda there: any((one.name, one.operation_id) == (name, operation_id) for one in there))

    def restore(self, snapshot: Snapshot) -> str:
        """Roll back. Younger snapshots are lost with it."""
        _zfs(self._words("restore", snapshot), self._call.stop, effect="maybe")
        return ""

    def now(self) -> Dict[str, str]:
        """Return the present reference. A dataset that was rolled back is the same dataset."""
        return {}

    def delete(self, snapshot: Snapshot) -> None:
        words = self._words("delete", snapshot)
        self._change(words, lambda there: all(one.name != snapshot.name for one in there))

    def commands(self, verb: str, snapshot: Snapshot) -> List[str]:
        return [shlex.join(["zfs", *self._words(verb, snapshot)])]

    def caveat(self) -> str:
        """See Store: it goes back where it is mounted."""
        return ""

    def free(self) -> int:
        room = os.statvfs(self._path)
        return room.f_bavail * room.f_frsize

    def _words(self, verb: str, snapshot: Snapshot) -> List[str]:
        full = f"{self._dataset}@{snapshot.name}"
        if verb == "create":
            described = ["-o", f"{_DESCRIPTION}={snapshot.description}"] if snapshot.description else []
            return ["snapshot", "-o", f"{_OPERATION}={snapshot.operation_id}", *described, full]
        return ["rollback", "-r", full] if verb == "restore" else ["destroy", full]

    def _listed(self, stop: CancelToken) -> List[Snapshot]:
        keys = f"creation,guid,used,{_OPERATION},{_DESCRIPTION}"
        properties = _zfs(["get", "-rHp", "-d", "1", "-o", "name,property,value", keys, self._dataset], stop)
        by_snapshot: Dict[str, Dict[str, str]] = {}
        for line in properties.whole("zfs").splitlines():
            name, _, rest = line.partition("\t")
            key, _, value = rest.partition("\t")
            dataset, at, snapshot = name.partition("@")
            if at and dataset == self._dataset:
                by_snapshot.setdefault(snapshot, {})[key] = "" if value == _NONE else value
        return sorted((_snapshot(*item) for item in by_snapshot.items()), key=lambda one: one.created_at, reverse=True)

    def _change(self, words: Sequence[str], shows: Callable[[List[Snapshot]], bool]) -> None:
        """Run a change. After a failure `shows`, applied to the snapshots then listed, decides if it took effect."""
        self._call.stop.check()
        self._changed = True
        try:
            _zfs(words, self._call.stop, effect="maybe")
        except HostError as error:
            if not error.certain:
                raise
            effect = "done" if shows(self.all()) else "none"
            raise HostError(error.code, error.message, effect=effect, output=error.output) from error


def _zfs(words: Sequence[str], stop: CancelToken, effect: str = "none") -> ProgramResult:
    ran = commands.run(["zfs", *words], stop)
    ran.refuse_stopped(f"zfs {words[0]}", effect)
    if ran.status:
        raise HostError(
            "tool_failed", f"zfs {words[0]} failed (exit status {ran.status})", effect=effect, output={"log": ran.log}
        )
    return ran


def _snapshot(name: str, values: Dict[str, str]) -> Snapshot:
    created = values.get("creation", "")
    if not created.isdigit():
        raise HostError("garbled", "the output of zfs cannot be parsed")
    used = values.get("used", "")
    return Snapshot(
        name,
        float(created),
        values.get(_DESCRIPTION, ""),
        values.get(_OPERATION, ""),
        values.get("guid", ""),
        size=int(used) if used.isdigit() else None,
    )
