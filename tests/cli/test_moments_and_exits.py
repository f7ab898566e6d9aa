"""Typed times, and the exit status of each end of a command."""

import errno
import os
import time
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from writ_bus import errors as bus_errors
from writ_cli.terminal import times
from writ_cli.terminal.error_output import refuse
from writ_cli.terminal.exit_status import Exit, of_error, of_outcome
from writ_cli.terminal.iso_times import with_times
from writ_cli.terminal.output import harmless
from writ_client.operations.operation_wait import StillOpen
from writ_contracts import errors
from writ_contracts.errors import ConfigError
from writ_contracts.journal import Outcome
from writ_installation.files.home import Home
from writ_installation.nats import disk
from writ_proof.bundles import BundleWriter
from writ_testing.each_case import each_case


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5", 1.5), ("15m", 900), ("2h", 7200), ("7d", 604800), ("1w", 604800)],
)
def test_span_is_parsed_to_seconds(text: str, seconds: float) -> None:
    assert times.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5", "2 h", "1e99", "nan", "inf", "2h\n", "tomorrow"])
def test_malformed_span_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid):
        times.seconds(text)


def test_full_disk_of_this_machine_is_a_failure_wherever_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup and an archive ended as unreachable (6), as did a new installation."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, home = tmp_path / "backup.writ", Home(tmp_path / ".writ")
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(disk, "ROOM", 1 << 60)
    with pytest.raises(OSError, match="No space left") as publish, BundleWriter(path) as writer:
        writer.publish()
    with pytest.raises(OSError, match="MB free") as create:
        disk.check_room_for_new(home)
    assert [refuse(publish.value), refuse(create.value)] == [Exit.FAILED] * 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"writ: {path}: No space left on device"
    assert second.startswith(f"writ: {home.root}: its disk has ")


def test_end_of_a_wait_names_the_command_that_follows_the_operation(capsys: pytest.CaptureFixture[str]) -> None:
    number = "a" * 26
    assert refuse(StillOpen(f"operation {number} is still dispatched after 60 s", number), "json") == Exit.PENDING
    shown = capsys.readouterr()
    assert shown.err.endswith(f"after 60 s; it goes on: `writ op watch {number}`\n")
    assert json.decode(shown.out)["operation_id"] == number


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("30d", 2_592_000)])
def test_lifetime_has_a_unit(text: str, seconds: float) -> None:
    assert times.lifetime("--for", text) == seconds


@pytest.mark.parametrize(
    ("text", "message"), [("30", "--for 30: the unit is missing: 30s, 30m, 30h or 30d?"), ("soon", "--for: 'soon' is")]
)
def test_lifetime_without_a_unit_is_refused(text: str, message: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        times.lifetime("--for", text)
    assert message in str(refused.value)


def test_instants_are_spans_before_now_or_iso_times() -> None:
    assert times.instant("2h", now=10_000.0) == 2800.0
    assert times.instant("2026-11-25T14:30:00Z", now=0) == 1795617000.0
    assert times.instant("2026-11-25T14:30:00+01:00", now=0) == 1795613400.0
    assert times.instant("2026-11-25", now=0) > 0
    with pytest.raises(errors.Invalid):
        times.instant("yesterday", now=0)


def test_times_of_an_event_are_beside_its_body_which_stays_as_recorded() -> None:
    body = {
        "at": 1795617000.0,
        "parameters": {"until": 1795617000.0},
        "timeout": 60,
        "decision": {"payload": {"issued_at": 1795617000.5, "rules": ["ops"]}},
        "approvals": [{"by": "bob"}, {"at": 1795617001.0}],
    }
    shown = with_times({"events": [{"at": 1795617000.0, "body": body}, {"at": 1795617000.0, "body": {"by": "bob"}}]})
    first, second = shown["events"]
    assert first["body"] == body
    assert first["at_iso"] == "2026-11-25T14:30:00.000Z"
    assert first["body_iso"] == {
        "at": "2026-11-25T14:30:00.000Z",
        "decision": {"payload": {"issued_at": "2026-11-25T14:30:00.500Z"}},
        "approvals": [{}, {"at": "2026-11-25T14:30:01.000Z"}],
    }
    assert "body_iso" not in second


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-196.0, "0 ms"), (0.00321, "3.21 ms"), (1.44, "1.4 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")],
)
def test_span_formats_a_duration(seconds: float, text: str) -> None:
    assert times.span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9994, "999 ms"), (0.9996, "1.0 s"), (59.97, "1 min 0 s"), (599.7, "10 min 0 s"), (3599.8, "1 h 0 min")],
)
def test_a_rounded_duration_is_carried_to_the_next_unit(seconds: float, text: str) -> None:
    assert times.span(seconds) == text


@each_case("outcome", Outcome.__args__)  # type: ignore[attr-defined]
def test_every_outcome_has_a_status(outcome: str) -> None:
    good = outcome in ("succeeded", "previewed")
    assert (of_outcome(outcome) is Exit.DONE) is good


def test_an_outcome_of_tomorrow_is_not_taken_for_done() -> None:
    assert of_outcome("of_tomorrow") is Exit.UNKNOWN
    assert of_outcome(None) is Exit.PENDING


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Invalid("x"), 2),
        (errors.Denied("x"), 3),
        (errors.Untrusted("x"), 6),
        (errors.Conflict("x"), 2),
        (errors.Unreachable("x"), 6),
        (errors.TimedOut("x"), 4),
        (errors.Full("x"), 6),
        (errors.WritError("x"), 1),
        (bus_errors.Forbidden("x"), 6),
        (bus_errors.Unreachable("x"), 6),
        (bus_errors.TimedOut("x"), 4),
        (bus_errors.Conflict("x"), 2),
        (bus_errors.Full("x"), 6),
        (bus_errors.BusRefused("x"), 1),
        (ConfigError("x"), 2),
        (PermissionError(13, "x"), 1),
    ],
)
def test_every_error_is_a_line_and_a_status(error: Exception, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert of_error(error) == status
    assert refuse(error, "table") == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("writ: ")
    assert err.count("\n") == 1
    assert refuse(error, "json") == status
    report = json.decode(capsys.readouterr().out)
    assert report["error"]["message"] == err.removeprefix("writ: ").strip()
    assert report["error"]["code"]


def test_no_error_class_of_ours_is_without_a_case_here() -> None:
    def below(kind: type[Exception]) -> set[type[Exception]]:
        children: list[type[Exception]] = kind.__subclasses__()
        return {kind}.union(*map(below, children))

    ours = {kind.__name__ for kind in below(errors.WritError) if kind.__module__.endswith(".errors")}
    contracts = {"WritError", "Invalid", "Denied", "Untrusted", "Conflict", "Unreachable", "TimedOut", "Full"}
    assert ours == contracts | {"BusError", "Forbidden", "BusRefused"}


def test_defect_is_reported_in_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse(ZeroDivisionError("by \x1b[31mzero")) == 1
    assert refuse(click.UsageError("no such \x07thing")) == 2
    err = capsys.readouterr().err
    assert "defect in writ: ZeroDivisionError" in err
    assert "\x1b" not in err
    assert "\x07" not in err


@given(st.text())
def test_json_for_a_terminal_is_the_same_json_and_commands_nothing(text: str) -> None:
    document = harmless(json.encode({"reason": text, "odd": "\x1b[31m\x9b2J\x7f\u202e\U000e0001"}).decode())
    assert document.isprintable()
    assert json.decode(document)["reason"] == text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (bus_errors.Unreachable("nobody listens on writ.query.alice.targets"), Exit.UNREACHABLE),
        (bus_errors.TimedOut("no answer from writ.query.alice.targets in 6 s"), Exit.PENDING),
    ],
)
def test_service_that_does_not_reply_names_the_command_that_shows_which(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    assert refuse(error) == status
    expected = f"writ: no service replied: {error}; `writ status` on its machine shows which is away\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("at", [253_402_300_799.0, 1e12, -1e12, 1e300, -1e300])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_an_instant_that_no_calendar_has_is_shown_as_seconds(
    at: float, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief of the executors' key could write one, so that no search or trace shows the forged operation."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for show in (times.clock, times.date, times.iso):
            assert show(at)
        assert at > 0 or times.date(at) == f"{at:g} s"
    finally:
        monkeypatch.undo()
        time.tzset()
