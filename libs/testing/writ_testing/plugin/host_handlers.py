"""The test operations for hostops: sent to a host with it, so for Python 3.9."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from writ_hostops import commands
from writ_hostops.errors import HostError
from writ_hostops.packages import apt, dpkg
from writ_hostops.protocol import HostReply, OperationCall, verdict

PACKAGES = "WRIT_TEST_PACKAGES"
"""Names the file with the root of this host's packages."""
_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range({processes}):
    if os.fork() == 0:
        os.setsid()
        time.sleep({seconds})
        os._exit(0)
time.sleep({seconds})
"""


def noop(call: OperationCall) -> HostReply:
    return HostReply()


def count(call: OperationCall) -> HostReply:
    """Carry out test_count: append this operation's id as a line."""
    path = str(call.parameters["path"])
    call.progress("waiting")
    if call.parameters.get("delay"):
        call.stop.wait(float(call.parameters["delay"]))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{call.id}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    lines = len(_counted(path))
    return HostReply(output={"lines": lines}, state={"lines": lines}, effect="done")


def count_baseline(call: OperationCall) -> HostReply:
    """Return the present number of lines."""
    return HostReply(state={"lines": len(_counted(str(call.parameters["path"])))})


def count_preview(call: OperationCall) -> HostReply:
    """Return the expected number of lines."""
    return HostReply(output={"lines": len(_counted(str(call.parameters["path"]))) + 1})


def count_probe(call: OperationCall) -> HostReply:
    """Report success if this operation's id is among the lines."""
    lines = _counted(str(call.parameters["path"]))
    return verdict("succeeded" if call.id in lines else "not_done", "its line", {"lines": len(lines)})


def sleep(call: OperationCall) -> HostReply:
    """Carry out test_sleep: processes that leave their session; `stubborn` ones ignore SIGTERM."""
    script = _STUBBORN.format(processes=call.parameters["processes"], seconds=call.parameters["seconds"])
    if not call.parameters.get("stubborn"):
        script = script.replace("SIG_IGN", "SIG_DFL")
    call.progress("they sleep")
    ran = commands.run([sys.executable, "-c", script], call.stop)
    ran.refuse_stopped("sleeping", "maybe")
    return HostReply(effect="done")


def keep(call: OperationCall) -> HostReply:
    secret = str(call.parameters["secret"])
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return HostReply(output={"digest": digest, "echo": secret}, effect="done")


def fail(call: OperationCall) -> HostReply:
    """Carry out test_fail. A defect is a process that ends without a result."""
    how = call.parameters["how"]
    if how == "refused":
        raise HostError("permission_denied", "refused as asked for")
    if how == "defect":
        os.kill(os.getpid(), signal.SIGKILL)
    raise HostError("internal", "nobody can tell, as asked for", effect="maybe")


def unseen(call: OperationCall) -> HostReply:
    """Return an empty preview."""
    return HostReply()


class _ToolOptions:
    """Options of apt-get or dpkg-query, from a file that may come later: `{"apt": [...], "dpkg": [...]}`."""

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name

    def __iter__(self) -> Iterator[str]:
        if os.path.exists(self._path):  # noqa: PTH110
            with open(self._path, encoding="utf-8") as file:  # noqa: PTH123
                yield from json.load(file)[self._name]


def _counted(path: str) -> list[str]:
    if not os.path.exists(path):  # noqa: PTH110
        return []
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read().splitlines()


HANDLERS: dict[str, dict[str, Callable[[OperationCall], Any]]] = {
    "test_noop": {"run": noop},
    "test_count": {"run": count, "baseline": count_baseline, "preview": count_preview, "probe": count_probe},
    "test_sleep": {"run": sleep, "preview": unseen},
    "test_secret": {"run": keep, "preview": unseen},
    "test_fail": {"run": fail, "preview": unseen},
}

if PACKAGES in os.environ:
    apt.OPTIONS = _ToolOptions(os.environ[PACKAGES], "apt")  # type: ignore[assignment]
    dpkg.OPTIONS = _ToolOptions(os.environ[PACKAGES], "dpkg")  # type: ignore[assignment]
