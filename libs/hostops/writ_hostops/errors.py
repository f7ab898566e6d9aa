"""The error of an operation on a host, with a code from a closed list.

    Exception
    └── HostError   code, message, effect, certain, state
        └── Raced   another program changed the file at that moment; the handler reads it again

A message names the thing and the reason, and never holds the value of a secret parameter.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Mapping, Optional

CODES: Mapping[str, str] = {
    "already_seen": "this id and attempt was carried out here before; its result comes with it if it is known",
    "bounds_refused": "it would change packages outside `only_packages`, or in `keep_packages`",
    "busy": "another program holds the lock that it needs, or too many requests run on the host; nothing was done",
    "cancelled": "it was cancelled, and ended before it was complete",
    "digest_mismatch": "the file differs from the expected one",
    "exists": "the path exists already",
    "garbled": "the output of a program on the host cannot be parsed",
    "incomplete": "it was done in part; the message has the missing parts",
    "internal": "a defect in hostops, or an error of the system without a code of its own",
    "invalid_parameter": "a parameter or the request is malformed",
    "job_failed": "systemd refused the job, or the job failed",
    "no_space": "the file system, a quota or a limit on file sizes leaves no room",
    "not_declared": "the target's inventory entry does not declare what this needs",
    "not_a_regular_file": "a folder, link, device, FIFO or socket, or a file with several names",
    "not_found": "no such file, folder, package, backup, snapshot or host",
    "outside_networks": "not inside a network that the target declares for scans",
    "outside_roots": "not beneath a declared file root, reached through a link, or Writ's own",
    "permission_denied": "the system does not permit this to the user of hostops",
    "source_changed": "the file to copy is not the one of the baseline, by which an approval was given",
    "timeout": "its timeout is over",
    "too_large": "larger than the operation allows",
    "tool_failed": "a program of the host (apt, dpkg, restic, zfs) failed; its output is in `log`",
    "tool_missing": "a program that it needs is not installed on this host",
    "unavailable": "a prerequisite (systemd, the kernel's netlink, a repository) does not answer on this host",
    "unit_alias": "the name is another unit's alias on this host; the message has the unit's own name",
    "unit_not_found": "systemd knows no such unit",
    "unsupported": "hostops has no such operation or action, or this host cannot do it",
}
"""Every code that a result may carry, with its meaning. A success has the code ``""``."""


class HostError(Exception):
    """An operation did not succeed. `effect`: its effect on the host before the error: none, done or maybe.

    `certain` is False if parts of it may still run.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        effect: str = "none",
        certain: bool = True,
        output: Optional[Dict[str, Any]] = None,
        state: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.effect = effect
        self.certain = certain
        self.output = output or {}
        self.state = state or {}

    @property
    def outcome(self) -> str:
        """Return the outcome: never `failed` after a possible effect, never `cancelled` for an operation that may still
        run.
        """
        if self.effect == "maybe" or not self.certain:
            return "unknown"
        return "cancelled" if self.code == "cancelled" else "failed"


class RacedChange(HostError):
    """Another program changed the file between the check and the change. The change was undone."""

    def __init__(self, path: str) -> None:
        super().__init__("digest_mismatch", f"{path} was changed by another program just then; nothing was done")


_CODE_OF_ERRNO = {
    errno.ENOENT: "not_found",
    errno.ENOTDIR: "not_found",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
    errno.ELOOP: "outside_roots",
    errno.EXDEV: "outside_roots",
    errno.EEXIST: "exists",
    errno.EISDIR: "not_a_regular_file",
    errno.ENXIO: "not_a_regular_file",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EFBIG: "no_space",
    errno.ENAMETOOLONG: "invalid_parameter",
}


@contextmanager
def system_errors(what: str) -> Iterator[None]:
    """Turn an OSError into the HostError with its code. `what` (a path, a socket) goes into the message."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, what) from error


def from_os_error(error: OSError, what: str) -> HostError:
    """Return the HostError for `error`. Only an errno for absence becomes `not_found`."""
    number = error.errno or 0
    name = errno.errorcode.get(number, type(error).__name__)
    return HostError(_CODE_OF_ERRNO.get(number, "internal"), f"{what}: {(error.strerror or 'error').lower()} ({name})")
