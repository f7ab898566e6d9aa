"""Logs: one line an event with any content, the same form for our events and a library's."""

import io
import json
import logging
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from writ_runtime.logs import Log, bound, configure


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def json_logs(level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure("policy", level, "auto", stream=stream)
    return stream


def test_an_event_is_one_json_object_with_its_fields() -> None:
    stream = json_logs()
    Log("writ.policy").info("policy.loaded", rules=12, path="a\nb")
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "service", "event", "rules", "path"]
    assert line | {"time": ""} == {
        "time": "",
        "level": "info",
        "service": "policy",
        "event": "policy.loaded",
        "rules": 12,
        "path": "a\nb",
    }
    assert datetime.fromisoformat(str(line["time"])).tzinfo is not None


def test_log_field_cannot_replace_event_level_or_time() -> None:
    stream = json_logs()
    Log("x").info("request.refused", level="error", service="audit", time="never")
    (line,) = lines(stream)
    assert (line["level"], line["service"], line["event"]) == ("info", "policy", "request.refused")
    assert line["time"] != "never"


def test_bound_fields_come_with_every_line_inside_and_none_outside() -> None:
    stream = json_logs()
    log = Log("x")
    with bound(operation="op1"), bound(correlation="c1"):
        log.info("inside")
    log.info("outside")
    inside, outside = lines(stream)
    assert (inside["operation"], inside["correlation"]) == ("op1", "c1")
    assert "operation" not in outside


def test_context_of_the_moment_is_read_for_each_line() -> None:
    stream = io.StringIO()
    traces = iter(["t1", "t2"])
    configure("x", "info", "json", context=lambda: {"trace": next(traces)}, stream=stream)
    Log("x").info("a")
    Log("x").info("b")
    assert [line["trace"] for line in lines(stream)] == ["t1", "t2"]


def test_log_line_of_a_library_has_the_same_form() -> None:
    stream = json_logs()
    logging.getLogger("writ.bus").warning("bus.%s", "slow", extra={"ms": 12})
    (line,) = lines(stream)
    assert (line["event"], line["ms"], line["level"]) == ("bus.slow", 12, "warning")


def test_less_severe_events_than_the_level_are_left_out() -> None:
    stream = json_logs("warning")
    Log("x").debug("a")
    Log("x").info("b")
    Log("x").warning("c")
    assert [line["event"] for line in lines(stream)] == ["c"]


def test_an_exception_comes_with_its_traceback_on_the_same_line() -> None:
    stream = json_logs()
    try:
        raise ValueError("no")
    except ValueError as error:
        Log("x").error("it.broke", exception=error)
    (line,) = lines(stream)
    assert line["error"] == "ValueError: no"
    assert "test_logs.py" in str(line["traceback"])


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"\xff", float("nan"), 2**200, {"a": [object()]}, {(1, 2): 3}, "\ud800"]
)
def test_no_field_can_break_the_line(value: object) -> None:
    stream = json_logs()
    Log("x").info("odd", value=value)
    (line,) = lines(stream)
    assert line["event"] == "odd"
    assert "value" in line


def test_a_person_gets_text_without_control_characters() -> None:
    stream = io.StringIO()
    configure("policy", "info", "console", stream=stream)
    Log("x").info("request.refused", why="\x1b[2Jno rule\nat all", rule="")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().rstrip().endswith(r"policy request.refused why='\x1b[2Jno rule\nat all' rule=''")


def test_lines_for_systemds_journal_begin_with_their_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure("policy", "debug", "auto", stream=stream)
        log = Log("writ.policy")
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d", exception=ValueError("two\nlines"))
        written = (tmp_path / "journal").read_text().splitlines()
    assert [line[:4] for line in written] == ["<7>{", "<6>{", "<4>{", "<3>{"]
    assert [json.loads(line[3:])["event"] for line in written] == ["a", "b", "c", "d"]


def test_lines_for_anything_else_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's child has the variable, too, also if its standard error is a file."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with (tmp_path / "log").open("w+") as stream:
        configure("policy", "info", "auto", stream=stream)
        Log("writ.policy").info("policy.loaded")
        assert (tmp_path / "log").read_text().startswith("{")
