"""Starts a command to die with its parent: `python parent_death.py PARENT_PID SLACK COMMAND…`.

Run as a file, before anything of Writ is imported. Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere it only starts
the command. The signal is SIGKILL: every process of Writ is built to be killed at any moment, and a process could
ignore another signal. SLACK: nanoseconds by which a timer of the command may be late (PR_SET_TIMERSLACK); 0: the
default.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29


def main() -> None:
    """Set the death signal, then become the command."""
    parent, slack, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if slack:
            libc.prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(slack), 0, 0, 0)
        if os.getppid() != parent:  # it died before we were tied to it
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - an argument vector, no shell


if __name__ == "__main__":
    main()
