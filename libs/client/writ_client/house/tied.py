"""Starts a command that dies with whoever started it: `python tied.py PARENT_PID COMMAND…`.

Run as a file, before anything of Writ is imported. Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere it only starts
the command. The signal is SIGKILL: every process of Writ is built to be killed at any moment, and after a politer one
it could stay.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ties, then becomes the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we were tied to it
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - an argument vector, no shell


if __name__ == "__main__":
    main()
