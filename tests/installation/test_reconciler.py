"""The reconcile loop: failures stay until an attempt succeeds, and no requester gets a success before."""

import asyncio
import time

import pytest

from writ_contracts.errors import ConfigError, Unreachable
from writ_installation.provisioner.reconciler import APART, Reconciler, Rounds, failure_text


class _Files:
    """Files with a version, a fault, and a record of attempts and reports."""

    def __init__(self) -> None:
        self.version = 1
        self.fault: Exception | None = None
        self.attempts: list[int] = []
        self.reports: list[str] = []
        self.latest = ""
        self.rounds = Rounds()
        self.reconciler = Reconciler(self.rounds, lambda: self.version, self._apply, self._report, applied=1)

    async def _apply(self) -> None:
        self.attempts.append(self.version)
        if self.fault is not None:
            raise self.fault

    def _report(self, failure: Exception | None, is_new: bool) -> None:
        self.latest = str(failure or "applied")
        if is_new:
            self.reports.append(self.latest)


async def test_unchanged_files_are_not_applied_and_a_requested_round_succeeds() -> None:
    files = _Files()
    number = files.rounds.request()
    await files.reconciler.round()
    assert files.rounds.is_done(number)
    assert not files.attempts


async def test_a_wrong_file_that_stays_wrong_ends_no_requested_round() -> None:
    files = _Files()
    files.version, files.fault = 2, ConfigError("principals.yaml: broken")
    number = files.rounds.request()
    for _ in range(3):
        await files.reconciler.round()
    assert not files.rounds.is_done(number)
    assert files.reports == ["principals.yaml: broken"]


async def test_a_failure_is_retried_without_a_change_and_another_one_is_reported() -> None:
    files = _Files()
    files.version = 2
    for fault in (OSError("disk full"), OSError("read only"), None, None):
        files.fault = fault
        await files.reconciler.round()
    assert files.reports == ["disk full", "read only", "applied"]
    assert files.attempts == [2, 2, 2]


async def test_failure_that_quotes_another_end_of_a_log_is_not_new_and_the_present_end_is_reported() -> None:
    files = _Files()
    files.version = 2
    for line in ("at 1", "at 2"):
        files.fault = Unreachable(f"an agent ended; the end of its log:\n  {line}")
        await files.reconciler.round()
        assert line in files.latest
    assert len(files.reports) == 1
    files.fault = ExceptionGroup("", [Unreachable("another agent ended; the end of its log:\n  at 2")])
    await files.reconciler.round()
    assert len(files.reports) == 2


def test_the_text_has_each_failure_of_several_processes_once() -> None:
    failure = ExceptionGroup("", [Unreachable("one ended"), Unreachable("another ended"), Unreachable("one ended")])
    assert failure_text(failure).endswith("trying again: one ended\nanother ended")


async def test_a_change_during_the_attempt_is_applied_in_the_next_round() -> None:
    files = _Files()
    files.version = 2
    await files.reconciler.round()
    files.version = 3
    await files.reconciler.round()
    assert files.attempts == [2, 3]


async def test_a_change_is_applied_at_once_and_the_next_ones_share_a_later_attempt() -> None:
    files = _Files()
    for _ in range(3):
        await files.reconciler.round()
    files.version = 2
    began = time.monotonic()
    first = asyncio.create_task(files.reconciler.round())
    await asyncio.sleep(0)
    assert first.done()  # it has not waited
    files.version = 3
    following = asyncio.create_task(files.reconciler.round())
    await asyncio.sleep(0)
    files.version = 4
    number = files.rounds.request()
    await following
    assert time.monotonic() - began >= APART
    assert (files.attempts, files.rounds.is_done(number)) == ([2, 4], True)


async def test_a_pause_ends_with_a_change_or_a_request() -> None:
    files = _Files()
    async with asyncio.timeout(30):
        pausing = asyncio.create_task(files.reconciler.pause(3600.0))
        await asyncio.sleep(0)
        files.version = 2
        await pausing
        await files.reconciler.round()
        pausing = asyncio.create_task(files.reconciler.pause(3600.0))
        await asyncio.sleep(0)
        files.rounds.request()
        await pausing
        await files.reconciler.round()
        await files.reconciler.pause(0.01)


async def test_a_defect_ends_the_loop() -> None:
    files = _Files()
    files.version, files.fault = 2, KeyError("defect")
    with pytest.raises(KeyError):
        await files.reconciler.round()
