"""Start the supervisor in a Python that a bootstrap prepared: find the folders, send the hello, serve."""

from __future__ import annotations

import gc
import importlib
import os
import pwd
import signal
import sys
from typing import Any, Dict, Sequence

from writ_hostops import processes, syscalls
from writ_hostops.operations import HANDLERS
from writ_hostops.supervised.child import HostFolders
from writ_hostops.supervised.supervisor import ChildSupervisor

_KEPT_BYTES = 4 * 1024 * 1024
"""Freed bytes that each process keeps for the next long text. The first use of a page from the kernel is a fault."""


def start(source: int, output: int, folder: str, carried: Sequence[str]) -> None:
    """Start and serve. `folder`: Writ's own on this host; `carried`: modules beside hostops whose HANDLERS are
    added.
    """
    for name in carried:
        HANDLERS.update(importlib.import_module(name).HANDLERS)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.chdir("/")
    os.umask(0o077)
    if os.getpid() != os.getsid(0):
        _lead()
    syscalls.keep_freed_memory(_KEPT_BYTES)
    gc.freeze()  # freeze loaded objects: children that share them do not copy them
    folders = HostFolders(os.path.join(folder, "marks"), tuple({folder, os.path.realpath(folder)}))
    ChildSupervisor(source, output, folders).serve(_hello())


def _lead() -> None:
    try:
        os.setsid()
    except PermissionError:  # a group leader already
        return


def _hello() -> Dict[str, Any]:
    return {
        "boot_id": processes.boot_id(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "uid": os.geteuid(),
        "operations": sorted(HANDLERS),
    }
