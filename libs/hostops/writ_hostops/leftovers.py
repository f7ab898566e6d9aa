"""The traces of Writ on this host: its own folder of this user, and the authorised key of a target. No operation.

Only what Writ made is removed: the folders `code` and `marks`, and the folder around them if nothing else is in it. An
authorised key was put there by people, and is reported only.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import stat
from typing import Any, Dict, List

from writ_hostops import processes
from writ_hostops.errors import HostError, system_errors
from writ_hostops.fields import Fields
from writ_hostops.privileges import user
from writ_hostops.protocol import HostReply, OperationCall

OWN = ("code", "marks")
_MOST_KEYS = 1024 * 1024


def leftovers(call: OperationCall) -> HostReply:
    """Return {user, folder, files, bytes, running, others, keys} as they are now."""
    return HostReply(output=_listed_leftovers(call))


def clean(call: OperationCall) -> HostReply:
    """Remove the folders, and return what was there. HostError `busy` while an operation runs."""
    observed = _listed_leftovers(call)
    folder = observed["folder"]
    if observed["running"]:
        raise HostError("busy", f"{observed['running']} operations run on this host; nothing was removed")
    if not os.path.lexists(folder):
        return HostReply(output=observed)
    with system_errors(folder):
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise HostError("permission_denied", f"{folder} is no folder of {observed['user']}; nothing was removed")
        for name in OWN:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(os.path.join(folder, name))
        if not observed["others"]:
            os.rmdir(folder)
    return HostReply(output=observed, effect="done")


def _listed_leftovers(call: OperationCall) -> Dict[str, Any]:
    fields = Fields(dict(call.parameters), "parameters")
    public = fields.text("public_key", "")
    fields.end()
    folder = os.path.dirname(call.target.state_dir)
    places = [place for own in OWN for place in os.walk(os.path.join(folder, own))]
    files = [os.path.join(place, name) for place, _, names in places for name in names]
    there = os.listdir(folder) if os.path.isdir(folder) else []
    return {
        "user": user(),
        "folder": folder,
        "files": len(files),
        "bytes": sum(os.lstat(file).st_size for file in files),
        "running": _running(call.target.state_dir),
        "others": sorted(name for name in there if name not in OWN)[:100],
        "keys": _authorised(public) if public else [],
    }


def _running(marks: str) -> int:
    """Return the number of operations whose process lives and whose result is not marked."""
    running = 0
    for name in os.listdir(marks) if os.path.isdir(marks) else []:
        path = os.path.join(marks, name)
        if not name.endswith(".begun") or os.path.exists(f"{path[: -len('.begun')]}.ended"):
            continue
        with contextlib.suppress(OSError, ValueError, AttributeError), open(path, "rb") as file:
            running += processes.alive(json.loads(file.read()).get("process", {}))
    return running


def _authorised(public: str) -> List[str]:
    """Return the places of this key in the user's authorized_keys, as path:line."""
    home = pwd.getpwuid(os.geteuid()).pw_dir
    places = []
    for name in ("authorized_keys", "authorized_keys2"):
        path = os.path.join(home, ".ssh", name)
        with contextlib.suppress(OSError), open(path, "rb") as file:
            lines = file.read(_MOST_KEYS).decode("utf-8", "replace").splitlines()
            places += [f"{path}:{number}" for number, text in enumerate(lines, 1) if public in text]
    return places
