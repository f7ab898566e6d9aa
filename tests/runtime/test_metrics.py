"""Metrics: closed label sets, one record feeding log and metrics, a registry for each process."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from writ_runtime.logs import Log, configure
from writ_runtime.metrics import Handled, Metrics, Observer


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def series(metrics: Metrics) -> dict[str, float]:
    rows = (line.rpartition(" ") for line in metrics.exposition().decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def test_a_value_outside_the_set_is_counted_as_other() -> None:
    metrics = Metrics()
    counter = metrics.counter("writ_security_events_total", "Security events.", {"kind": ("forged", "replayed")})
    counter.add(kind="forged")
    for attempt in range(1000):
        counter.add(kind=f"made-up-{attempt}")
    rows = {name: value for name, value in series(metrics).items() if name.startswith("writ_security_events_total")}
    assert rows == {
        'writ_security_events_total{kind="forged"}': 1,
        'writ_security_events_total{kind="other"}': 1000,
    }


def test_a_label_that_is_left_out_is_a_defect() -> None:
    counter = Metrics().counter("writ_a_total", "A.", {"kind": ("x",)})
    with pytest.raises(KeyError, match="kind"):
        counter.add()


def test_gauges_are_set_or_read_when_asked() -> None:
    metrics = Metrics()
    metrics.gauge("writ_open_operations", "Open.", {"state": ("started",)}).set(3, state="started")
    level = [1.0]
    metrics.measure("writ_journal_bytes", "Bytes.", lambda: level[0])
    level[0] = 2.0
    rows = series(metrics)
    assert rows['writ_open_operations{state="started"}'] == 3
    assert rows["writ_journal_bytes"] == 2


def test_histograms_have_buckets_for_loopback_and_for_slow_hosts() -> None:
    metrics = Metrics()
    metrics.histogram("writ_step_seconds", "A step.", {"step": ("claim",)}).observe(0.004, step="claim")
    rows = series(metrics)
    assert rows['writ_step_seconds_bucket{le="0.0025",step="claim"}'] == 0
    assert rows['writ_step_seconds_bucket{le="0.005",step="claim"}'] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_process_itself_is_measured() -> None:
    assert series(Metrics())["process_resident_memory_bytes"] > 1_000_000


def test_two_processes_worth_of_metrics_live_side_by_side() -> None:
    first, second = Metrics(), Metrics()
    first.counter("writ_a_total", "A.").add()
    second.counter("writ_a_total", "A.").add(5)
    assert (series(first)["writ_a_total"], series(second)["writ_a_total"]) == (1, 5)


def test_one_record_feeds_log_and_metrics() -> None:
    stream = io.StringIO()
    configure("executor", "info", "json", stream=stream)
    metrics = Metrics(("request", "claim"))
    observe = Observer(Log("x"), metrics)
    observe(Handled(endpoint="request", outcome="refused", code="denied", seconds=0.002, fields={"operation": "op1"}))
    observe(Handled(endpoint="claim", outcome="ok", seconds=0.001))
    observe(Handled(endpoint="claim", outcome="failed", code="internal", seconds=0.001))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line.get("code")) for line in told] == [
        ("request.handled", "info", "denied"),
        ("claim.handled", "info", None),
        ("claim.handled", "error", "internal"),
    ]
    assert (told[0]["operation"], told[0]["ms"]) == ("op1", 2.0)
    rows = series(metrics)
    assert rows['writ_handled_total{code="denied",endpoint="request",outcome="refused"}'] == 1
    assert rows['writ_handled_seconds_count{endpoint="claim"}'] == 2
