"""Compilation of stored versions of the policy for second decisions, in a process with limits of memory and time.

One that fails there is refused: audit itself would need as much, without a limit, and record nothing meanwhile. Second
decisions by that version stay open.
"""

import time
from collections.abc import Callable
from functools import partial
from subprocess import CalledProcessError, TimeoutExpired
from typing import TYPE_CHECKING

from writ_contracts.errors import ConfigError
from writ_contracts.operations import Catalogue
from writ_runtime.logs import Log
from writ_runtime.short_process import run_once

if TYPE_CHECKING:
    from writ_rules.engine.compile import Policy

RETRY_AFTER = 3600.0
"""Seconds until a version that failed is compiled again: each attempt may take a minute of a processor."""

_log = Log("writ.audit")


class VersionCompiler:
    """Compiles documents by their names, in a thread."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float] = time.monotonic) -> None:
        from writ_rules.policy_reader import PolicyReader  # noqa: PLC0415 - the engine is large

        run = partial(run_once, "writ_audit.compiler_process")
        self._read = PolicyReader(catalogue, "permissive", run, _compiled_here)
        self._clock = clock
        self._failed: dict[str, tuple[float, str]] = {}

    def __call__(self, data: bytes, name: str) -> "Policy":
        """Return the policy. Raises ConfigError for a document with mistakes, and for one whose process failed."""
        until, reason = self._failed.get(name, (0.0, ""))
        if reason and self._clock() < until:
            raise ConfigError(reason)
        try:
            return self._read(data, name, compared=False)[0]
        except NotCompiled as error:
            _log.warning("policy.not_compiled", name=name, reason=str(error))
            self._failed[name] = (self._clock() + RETRY_AFTER, str(error))
            raise


class NotCompiled(ConfigError):
    """Raised when the process did not end with a policy or its mistakes."""


def _compiled_here(name: str, error: Exception) -> None:
    """Raises NotCompiled for a process that reached a limit; another failure lets the document be compiled here."""
    from writ_rules.policy_reader import CPU_SECONDS, MOST_MEMORY  # noqa: PLC0415 - the engine is large

    if isinstance(error, TimeoutExpired):
        raise NotCompiled(f"{name} of the policy is not compiled in time") from error
    if isinstance(error, CalledProcessError):
        status = f"signal {-error.returncode}" if error.returncode < 0 else f"status {error.returncode}"
        limits = f"it has {CPU_SECONDS} s of processor time and {MOST_MEMORY >> 30} GiB"
        raise NotCompiled(f"{name} of the policy is not compiled: its process ended with {status}; {limits}") from error
    _log.warning("policy.compiled_here", name=name, reason=str(error))
