"""The verdict on failed tests in continuous integration."""

import tomllib
from pathlib import Path

from tests.ci.flakes import Failure, Record, Trouble, Verdict, judge, reasons, summary, troubles

ROOT = Path(__file__).parents[2]


def failure(test: str, when: str = "call", cause: str = "f.py:1: no", text: str = "the traceback") -> Failure:
    return Failure(test=test, when=when, cause=cause, text=text)


def record(*failures: Failure, exit_status: int = 1, passed: int = 5, broken: tuple[str, ...] = ()) -> Record:
    chosen = passed + 1 + len(failures)
    return Record(exit_status=exit_status, chosen=chosen, passed=passed, skipped=1, failures=failures, broken=broken)


def passes(trouble: Trouble) -> bool:
    return True


def fails(trouble: Trouble) -> bool:
    return False


def never(trouble: Trouble) -> bool:
    raise AssertionError("it is not to be run again")


def flaky(*tests: str) -> Verdict:
    return Verdict(
        step="make test", flaky=tuple(Trouble(tests=(test,), cause="f.py:1: no", text="text") for test in tests)
    )


def test_flaky_is_what_passes_alone_and_failed_what_fails_twice() -> None:
    verdict = judge("make test", record(failure("t.py::a"), failure("t.py::b")), lambda one: one.tests == ("t.py::a",))
    assert [one.tests for one in verdict.flaky] == [("t.py::a",)]
    assert [one.tests for one in verdict.failed] == [("t.py::b",)]
    assert reasons([verdict], ()) == ["t.py::b failed: f.py:1: no"]
    assert summary([verdict], {}).endswith("error: t.py::b failed: f.py:1: no\n6 passed, 1 failed, 1 skipped, 1 flaky")


def test_flaky_test_is_shown_with_its_first_failure_and_the_run_holds() -> None:
    verdict = judge("make lab", record(failure("t.py::a", text="first\nsecond")), passes)
    shown = summary([verdict], {})
    assert reasons([verdict], ()) == []
    assert "=== FLAKY (failed, then passed alone), make lab: t.py::a\n    first\n    second\n" in shown
    assert '"t.py::a" = ' in shown


def test_cause_of_a_failure_stands_in_one_line_of_the_reasons() -> None:
    verdict = judge("make lab", record(failure("t.py::a", cause=f"t.py:7: {'x' * 400}\nmore")), fails)
    assert reasons([verdict], ()) == [f"t.py::a failed: t.py:7: {'x' * 292}…"]


def test_flaky_tests_beyond_three_fail_the_run() -> None:
    assert reasons([flaky("a", "b"), flaky("c")], ()) == []
    assert reasons([flaky("a", "b"), flaky("c", "d")], ()) == ["4 tests are flaky; at most 3 may be"]


def test_flaky_test_that_was_listed_before_fails_the_run() -> None:
    assert reasons([flaky("a")], {"a": "last week"}) == ["a is flaky and was listed before: mend it"]
    assert '"a" = ' not in summary([flaky("a")], {"a": "last week"})


def test_failures_beyond_the_room_for_flaky_tests_are_not_run_again() -> None:
    verdict = judge("make test", record(failure("t.py::a"), failure("t.py::b")), never, room=1)
    assert len(verdict.failed) == 2


def test_crash_and_collection_error_fail_the_run_whatever_passes_alone() -> None:
    for broken in (
        record(failure("t.py::a"), broken=("the worker gw0 crashed",)),
        record(exit_status=2, broken=("t.py could not be collected",)),
        record(exit_status=3),
        record(exit_status=5),
        record(exit_status=1),
    ):
        verdict = judge("make test", broken, never)
        assert verdict.broken
        assert reasons([verdict], ())
        assert ", 0 failed" not in summary([verdict], {})


def test_tests_that_did_not_run_fail_a_step_but_not_a_share() -> None:
    lost = Record(exit_status=0, chosen=9, passed=6, skipped=1)
    assert judge("make test", lost, never).broken == ("2 of 9 tests did not run",)
    assert judge("a share", lost, never, whole=False).broken == ()


def test_shared_fixture_that_fails_once_is_one_trouble() -> None:
    first, second = failure("t.py::a", "setup", "no installation"), failure("t.py::b", "setup", "no installation")
    assert [one.tests for one in troubles([first, second])] == [("t.py::a", "t.py::b")]
    assert len(troubles([first, failure("t.py::b", "setup", "no port")])) == 2
    assert len(troubles([first, failure("other.py::a", "setup", "no installation")])) == 1
    assert len(troubles([failure("t.py::a"), failure("t.py::b")])) == 2


def test_test_that_fails_and_cannot_be_torn_down_is_one_trouble() -> None:
    assert len(troubles([failure("t.py::a", "call", "this"), failure("t.py::a", "teardown", "that")])) == 1


def test_listed_test_exists() -> None:
    for test, why in tomllib.loads((ROOT / "tests/flaky.toml").read_text()).items():
        file, _, name = test.partition("::")
        assert f"def {name.rpartition('::')[2].partition('[')[0]}(" in (ROOT / file).read_text(), test
        assert why, test
