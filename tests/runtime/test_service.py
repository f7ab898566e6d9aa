"""The frame of a service, as real processes: ready, stopped in order, and the right exit status."""

import asyncio
import io
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from writ_documents.atomic_files import write_atomically
from writ_installation.processes.child import tie
from writ_runtime.config import ServiceConfig
from writ_runtime.logs import Log, configure
from writ_runtime.service import StopStep, ended, finish, running

SERVICE = """
import asyncio
import gc
import resource
import sys
from writ_contracts.errors import Unreachable
from writ_runtime.config import ConfigError, ServiceConfig
from writ_runtime.service import StopStep, run, running

class Config(ServiceConfig, frozen=True, kw_only=True):
    pass

async def step(name):
    print(name, flush=True)

async def hang():
    print("hang", flush=True)
    await asyncio.Event().wait()

async def fine():
    return None

async def main(config):
    {body}

if __name__ == "__main__":
    run("sample", Config, main)
"""
SERVES = """async with running("sample", config) as process:
        steps = StopStep("drain", lambda: step("drain")), StopStep("close", lambda: step("close"))
        await process.serve_until_stopped({"bus": fine}, *steps)"""


class Sample:
    """A started sample service."""

    def __init__(self, folder: Path, body: str, **environ: str) -> None:
        self.run_file = folder / "sample.run"
        script = folder / "sample.py"
        script.write_text(SERVICE.replace("{body}", textwrap.dedent(body)))
        settings = {"NATS_URL": "nats://127.0.0.1:1", "WRIT_KEY_FILE": "x", "WRIT_RUN_FILE": str(self.run_file)}
        self.process = subprocess.Popen(
            [*tie(), sys.executable, str(script)],
            env={"PATH": os.environ["PATH"], **settings, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self, event: str) -> dict[str, object]:
        """Return its log up to this event."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line: dict[str, object] = json.loads(text)
            if line["event"] == event:
                return line
        raise AssertionError(f"it ended without {event}")

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def samples(tmp_path: Path) -> Iterator[list[Sample]]:
    started: list[Sample] = []
    yield started
    for sample in started:
        sample.process.kill()
        sample.process.communicate()


def start(samples: list[Sample], folder: Path, body: str = SERVES, **environ: str) -> Sample:
    samples.append(Sample(folder, body, **environ))
    return samples[-1]


def readiness(port: object) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_service_reports_ready_with_its_port_and_stops_in_order(samples: list[Sample], tmp_path: Path) -> None:
    sample = start(samples, tmp_path)
    ready = sample.line("service.ready")
    assert readiness(ready["health_port"]) == 200
    assert json.loads(sample.run_file.read_text()) == {
        "pid": sample.process.pid,
        "health_port": ready["health_port"],
        "name": "sample",
    }
    assert stat.S_IMODE(sample.run_file.stat().st_mode) == 0o600
    sample.process.send_signal(signal.SIGTERM)
    status, out, err = sample.end()
    assert (status, out) == (0, "drain\nclose\n")
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["service.stopping", "service.stopped"]
    assert not sample.run_file.exists()


def test_service_logs_a_variable_that_it_does_not_read(samples: list[Sample], tmp_path: Path) -> None:
    sample = start(samples, tmp_path, WRIT_AUDIT_LEVEL="minimal")
    problem = sample.line("config.variable_not_read")["problem"]
    assert problem == "WRIT_AUDIT_LEVEL is not read; did you mean 'SYSTEMMANAGER_AUDIT_LEVEL'?"


def test_a_ready_service_freezes_its_objects_and_collects_garbage_as_often_as_it_says(
    samples: list[Sample], tmp_path: Path
) -> None:
    body = 'async with running("sample", config, gc_thresholds=(2_000, 5, 5)) as process:'
    body += "\n        process.ready({})\n        print(gc.get_threshold(), gc.get_freeze_count() > 10_000)"
    status, out, _ = start(samples, tmp_path, body).end()
    assert (status, out) == (0, "(2000, 5, 5) True\n")


def test_service_sets_a_short_thread_switch_interval(samples: list[Sample], tmp_path: Path) -> None:
    body = 'async with running("sample", config):\n        print(sys.getswitchinterval())'
    status, out, _ = start(samples, tmp_path, body).end()
    assert (status, out) == (0, "0.0005\n")


def test_memory_of_a_large_message_is_kept_for_the_next_one(samples: list[Sample], tmp_path: Path) -> None:
    body = """async with running("sample", config):
        faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        def message():
            return len([bytes([number]) * 1_000_000 for number in range(4)])
        message()
        before = faults()
        for _ in range(50):
            message()
        print(faults() - before < 1_000)"""
    status, out, _ = start(samples, tmp_path, body).end()
    assert (status, out) == (0, "True\n")


def test_health_answers_while_it_is_still_starting(samples: list[Sample], tmp_path: Path) -> None:
    sample = start(
        samples, tmp_path, 'async with running("sample", config) as process:\n        await process.stop.wait()'
    )
    starting = sample.line("service.starting")
    assert readiness(starting["health_port"]) == 503
    assert not sample.run_file.exists()
    sample.process.send_signal(signal.SIGINT)
    assert sample.end()[0] == 0


def test_a_wrong_configuration_is_one_line_and_status_2(samples: list[Sample], tmp_path: Path) -> None:
    status, out, err = start(samples, tmp_path, WRIT_HEALTH_PORT="99999", WRIT_LOG_LEVEL="loud", NATS_URL="").end()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("writ sample: NATS_URL is not set (the NATS server, ")
    assert "WRIT_HEALTH_PORT: expected" in err
    assert "WRIT_LOG_LEVEL: " in err


@pytest.mark.parametrize(
    ("body", "status", "event"),
    [
        ("raise Unreachable('no server at nats://127.0.0.1:1')", 1, "service.failed"),
        ("raise OSError(98, 'address in use')", 1, "service.failed"),
        ("raise KeyError('defect')", 1, "service.crashed"),
    ],
)
def test_failure_is_one_event_and_status_1(
    samples: list[Sample], tmp_path: Path, body: str, status: int, event: str
) -> None:
    code, _, err = start(samples, tmp_path, body).end()
    (line,) = err.splitlines()
    entry = json.loads(line)
    assert (code, entry["event"]) == (status, event)
    assert ("traceback" in entry) is (event == "service.crashed")


def test_a_bad_file_found_while_starting_is_a_configuration_error(samples: list[Sample], tmp_path: Path) -> None:
    status, _, err = start(samples, tmp_path, "raise ConfigError('a.yaml:1:1: x', 'a.yaml:2:1: y')").end()
    assert (status, err) == (2, "writ sample: a.yaml:1:1: x; a.yaml:2:1: y\n")


def test_a_second_signal_ends_a_stop_that_hangs(samples: list[Sample], tmp_path: Path) -> None:
    body = SERVES.replace('StopStep("drain", lambda: step("drain"))', 'StopStep("drain", hang, grace=600)')
    sample = start(samples, tmp_path, body)
    sample.line("service.ready")
    sample.process.send_signal(signal.SIGTERM)
    assert sample.process.stdout is not None
    assert sample.process.stdout.readline() == "hang\n"
    sample.process.send_signal(signal.SIGTERM)
    status, _, err = sample.end()
    assert status == 1
    assert json.loads(err.splitlines()[-1])["event"] == "service.cut_short"


def test_process_whose_loop_is_held_up_with_the_lock_of_the_logs_ends(samples: list[Sample], tmp_path: Path) -> None:
    body = """import logging, threading
    from writ_runtime.loop_watchdog import ending_when_held_up
    with ending_when_held_up(1.0):
        logging.root.handlers[0].acquire()
        threading.Event().wait()"""
    sample = start(samples, tmp_path, body)
    status, _, errors = sample.end()
    assert (status, errors) == (1, "")


async def test_a_step_that_fails_or_hangs_holds_up_no_other() -> None:
    taken: list[str] = []

    async def fails() -> None:
        taken.append("fails")
        raise OSError("gone")

    async def closes() -> None:
        taken.append("closes")

    await finish(Log("x"), StopStep("a", fails), StopStep("b", asyncio.Event().wait, grace=0.01), StopStep("c", closes))
    assert taken == ["fails", "closes"]


def test_a_file_is_replaced_whole_and_no_draft_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


async def test_a_task_that_does_not_heed_its_cancel_keeps_no_service_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits, over = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not over.is_set():
            try:
                waits.set()
                await over.wait()
            except asyncio.CancelledError:
                pass

    task = asyncio.create_task(stubborn())
    await waits.wait()
    async with asyncio.timeout(30):
        await finish(Log("one"), StopStep("follow", lambda: ended(task), 0.1))
        over.set()
        await task
    assert caplog.messages == ["service.stop_overran"]


async def test_a_service_stops_without_what_it_needs_and_says_by_what_error() -> None:
    async def breaks() -> None:
        raise ValueError("it broke")

    stream = io.StringIO()
    configure("one", "info", "json", stream=stream)
    config = ServiceConfig(nats_url="nats://127.0.0.1", key_file=Path("x"))
    async with running("one", config) as process, asyncio.timeout(30):
        task = asyncio.create_task(breaks())
        process.needs(task, "nobody works any more")
        await process.serve_until_stopped({})
        await ended(task)
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    (broke,) = (one for one in entries if one["event"] == "service.broke")
    assert broke["reason"] == "nobody works any more"
    assert "it broke" in json.dumps(broke)
    assert next(one["reason"] for one in entries if one["event"] == "service.stopping") == "nobody works any more"
