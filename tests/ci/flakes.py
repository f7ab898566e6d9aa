"""Decide the meaning of a failed test in continuous integration: broken, or flaky. No I/O.

Each failed test runs once more, alone. If it passes then it is flaky: it is listed, and the run goes on. The run fails
if a test fails twice, if more than three are flaky, if a flaky one was listed before (tests/flaky.toml), or if pytest
itself did not finish (a worker crashed, a file could not be collected).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

MOST_FLAKY = 3
LINES_SHOWN, CAUSE_SHOWN = 60, 300
PASSED, TESTS_FAILED = 0, 1
"""Exit statuses of pytest under which its record is complete."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One failed phase of one test."""

    test: str
    """Its node id."""
    when: str
    """`setup`, `call` or `teardown`."""
    cause: str
    """Where and why, in one line."""
    text: str
    """What pytest shows of it."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one pytest run."""

    exit_status: int
    chosen: int
    passed: int
    skipped: int
    failures: tuple[Failure, ...] = ()
    broken: tuple[str, ...] = ()
    """Crashed workers and files that could not be collected."""

    @property
    def missing(self) -> int:
        """Return how many chosen tests have no report."""
        failed = len({failure.test for failure in self.failures})
        return max(0, self.chosen - self.passed - self.skipped - failed)


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Tests with one reason of failure: one test, or all tests with a failed shared fixture."""

    tests: tuple[str, ...]
    cause: str
    text: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one step of the run."""

    step: str
    passed: int = 0
    skipped: int = 0
    flaky: tuple[Trouble, ...] = ()
    failed: tuple[Trouble, ...] = ()
    broken: tuple[str, ...] = ()


def troubles(failures: Iterable[Failure]) -> list[Trouble]:
    """Group failures by reason. The setup of a shared fixture fails once, and pytest reports it for each test."""
    groups: dict[tuple[str, ...], list[Failure]] = {}
    for failure in failures:
        key = ("setup", failure.cause) if failure.when == "setup" else (failure.test,)
        groups.setdefault(key, []).append(failure)
    return [
        Trouble(tests=tuple({one.test: None for one in group}), cause=group[0].cause, text=group[0].text)
        for group in groups.values()
    ]


def judge(
    step: str,
    record: Record,
    passes_alone: Callable[[Trouble], bool],
    room: int = MOST_FLAKY,
    *,
    whole: bool = True,
) -> Verdict:
    """Run failed tests once more.

    `room`: how many more flaky tests the run may have; beyond it no test is repeated. `whole`: each test has to run.
    """
    found = troubles(record.failures)
    broken = (*record.broken, *_incomplete(record, whole))
    if broken or len(found) > room:
        return _verdict(step, record, flaky=(), failed=tuple(found), broken=broken)
    again = {trouble: passes_alone(trouble) for trouble in found}
    flaky = tuple(trouble for trouble, passed in again.items() if passed)
    failed = tuple(trouble for trouble, passed in again.items() if not passed)
    return _verdict(step, record, flaky=flaky, failed=failed, broken=())


def _verdict(
    step: str, record: Record, *, flaky: tuple[Trouble, ...], failed: tuple[Trouble, ...], broken: tuple[str, ...]
) -> Verdict:
    passed = record.passed + sum(len(trouble.tests) for trouble in flaky)
    return Verdict(step=step, passed=passed, skipped=record.skipped, flaky=flaky, failed=failed, broken=broken)


def _incomplete(record: Record, whole: bool) -> Iterable[str]:
    if record.exit_status not in {PASSED, TESTS_FAILED}:
        yield f"pytest ended with status {record.exit_status}"
    elif record.exit_status == TESTS_FAILED and not record.failures:
        yield "pytest ended with status 1 and named no test"
    elif whole and record.missing:
        yield f"{record.missing} of {record.chosen} tests did not run"


def reasons(verdicts: Sequence[Verdict], listed: Collection[str]) -> list[str]:
    """Return the reasons why the run fails; none if it passes."""
    found = [f"{verdict.step}: {one}" for verdict in verdicts for one in verdict.broken]
    found += [f"{_named(one)} failed: {_shortened(one.cause)}" for verdict in verdicts for one in verdict.failed]
    flaky = [trouble for verdict in verdicts for trouble in verdict.flaky]
    found += [f"{_named(one)} is flaky and was listed before: mend it" for one in flaky if set(one.tests) & set(listed)]
    if len(flaky) > MOST_FLAKY:
        found.append(f"{len(flaky)} tests are flaky; at most {MOST_FLAKY} may be")
    return found


def summary(verdicts: Sequence[Verdict], listed: Mapping[str, str]) -> str:
    """Return the summary of the run: failures, flaky tests with their first failure, reasons, counts."""
    lines: list[str] = []
    for verdict in verdicts:
        lines += _shown("FAILED", verdict.step, verdict.failed)
        lines += _shown("FLAKY (failed, then passed alone)", verdict.step, verdict.flaky)
    new = [test for one in verdicts for trouble in one.flaky for test in trouble.tests if test not in listed]
    if new:
        lines += ["", "Fix these, and list them in tests/flaky.toml until then:"]
        lines += [f'"{test}" = "the date, and what it failed of"' for test in map(_escaped, new)]
    why = reasons(verdicts, listed)
    return "\n".join([*lines, "", *(f"error: {reason}" for reason in why), _counts(verdicts)])


def _shown(title: str, step: str, found: Iterable[Trouble]) -> list[str]:
    lines = []
    for trouble in found:
        shown = trouble.text.splitlines()[-LINES_SHOWN:]
        lines += ["", f"=== {title}, {step}: {_named(trouble)}", *(f"    {line}" for line in shown)]
    return lines


def _named(trouble: Trouble) -> str:
    more = len(trouble.tests) - 1
    return trouble.tests[0] + (f" and {more} more for the same reason" if more else "")


def _shortened(cause: str) -> str:
    """Return its first line, or as much of it as a summary has room for."""
    line, *_ = [*cause.strip().splitlines(), ""]
    return line if len(line) <= CAUSE_SHOWN else f"{line[:CAUSE_SHOWN]}…"


def _escaped(test: str) -> str:
    return test.replace("\\", "\\\\").replace('"', '\\"')


def _counts(verdicts: Sequence[Verdict]) -> str:
    failed = sum(len(trouble.tests) for one in verdicts for trouble in one.failed)
    failed += sum(len(one.broken) for one in verdicts)
    flaky = sum(len(trouble.tests) for one in verdicts for trouble in one.flaky)
    passed, skipped = sum(one.passed for one in verdicts), sum(one.skipped for one in verdicts)
    return f"{passed} passed, {failed} failed, {skipped} skipped, {flaky} flaky"
