"""Metrics: closed label sets, one record feeding log and metrics, a registry for each process."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from writ_bus import tracing
from writ_runtime import metric_series as series_module
from writ_runtime.logs import Log, configure
from writ_runtime.metric_series import EXAMPLE_EVERY, AtMost
from writ_runtime.metrics import HandledMessage, Metrics, Observer


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def series(metrics: Metrics) -> dict[str, float]:
    rows = (line.rpartition(" ") for line in metrics.exposition()[0].decode().splitlines() if not line.startswith("#"))
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
        'writ_security_events_total{kind="replayed"}': 0,
        'writ_security_events_total{kind="other"}': 1000,
    }


def test_names_of_an_operator_have_series_up_to_a_bound_and_the_same_ones_in_every_metric() -> None:
    metrics, pools = Metrics(), AtMost(2)
    requests = metrics.counter("writ_asked_total", "Asked.", {"pool": pools})
    slots = metrics.gauge("writ_free_slots", "Free.", {"pool": pools})
    for number in range(1000):
        requests.add(pool=f"local-{number}")
    slots.replace({("local-7",): 5, ("local-1",): 6, ("",): 1})
    rows = series(metrics)
    assert {name: value for name, value in rows.items() if name.startswith("writ_asked")} == {
        'writ_asked_total{pool="local-0"}': 1,
        'writ_asked_total{pool="local-1"}': 1,
        'writ_asked_total{pool="other"}': 998,
    }
    assert {name: value for name, value in rows.items() if name.startswith("writ_free")} == {
        'writ_free_slots{pool="other"}': 5,
        'writ_free_slots{pool="local-1"}': 6,
        'writ_free_slots{pool=""}': 1,
    }


def test_series_that_are_replaced_are_gone() -> None:
    metrics = Metrics()
    gauge = metrics.gauge("writ_free_slots", "Free.", {"pool": AtMost(5)})
    gauge.replace({("a",): 1, ("b",): 2})
    gauge.replace({("b",): 3})
    assert {name: value for name, value in series(metrics).items() if name.startswith("writ_free")} == {
        'writ_free_slots{pool="b"}': 3
    }


def test_gauges_that_are_computed_together_are_so_at_each_scrape() -> None:
    metrics, calls = Metrics(), [0]
    gauge = metrics.gauge("writ_open", "Open.")

    def scrape() -> None:
        calls[0] += 1
        gauge.set(calls[0])

    metrics.before(scrape)
    assert [series(metrics)["writ_open"], series(metrics)["writ_open"]] == [1, 2]


def test_failing_call_is_timed_too() -> None:
    metrics = Metrics()
    steps = metrics.histogram("writ_step_seconds", "A step.", {"step": ("claim",)})
    with pytest.raises(ValueError, match="no"), steps.time(step="claim"):
        raise ValueError("no")
    assert series(metrics)['writ_step_seconds_count{step="claim"}'] == 1


def test_a_label_that_is_left_out_is_a_defect() -> None:
    counter = Metrics().counter("writ_a_total", "A.", {"kind": ("x",)})
    with pytest.raises(KeyError, match="kind"):
        counter.add()


def test_gauges_are_set_or_read_at_a_scrape() -> None:
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


def examples(metrics: Metrics, name: str) -> dict[str, str]:
    """Return OpenMetrics' exemplar by bucket."""
    body, content_type = metrics.exposition("text/plain, application/openmetrics-text;version=1.0.0")
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    text = body.decode()
    assert text.endswith("# EOF\n")
    rows = (line.partition(" # ") for line in text.splitlines() if line.startswith(f"{name}_bucket"))
    return {row.partition('le="')[2].partition('"')[0]: example for row, _, example in rows if example}


def test_a_bucket_shows_which_operation_took_so_long_and_in_which_trace() -> None:
    metrics = Metrics()
    steps = metrics.histogram("writ_step_seconds", "A step.", {"step": ("claim",)})
    with tracing.within(tracing.root()) as trace:
        steps.observe(0.004, "op-quick", step="claim")
    steps.observe(7, "op-slow", step="claim")
    steps.observe(0.2, step="claim")
    found = {bound: example.rpartition(" ")[0] for bound, example in examples(metrics, "writ_step_seconds").items()}
    assert found == {
        "0.005": f'{{operation_id="op-quick",trace_id="{trace.trace_id}"}} 0.004',
        "10.0": '{operation_id="op-slow"} 7.0',
    }
    assert "op-quick" not in metrics.exposition()[0].decode()  # the text format knows no exemplars


def test_a_bucket_takes_no_second_example_within_a_moment_and_a_later_one_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(series_module, "perf_counter", lambda: now[0])
    metrics = Metrics()
    steps = metrics.histogram("writ_step_seconds", "A step.")
    for at, operation in ((0.0, "first"), (EXAMPLE_EVERY / 2, "second")):
        now[0] = 100.0 + at
        steps.observe(0.004, operation)
    assert "first" in examples(metrics, "writ_step_seconds")["0.005"]
    now[0] = 100.0 + EXAMPLE_EVERY
    with steps.time("third"):
        now[0] += 0.004
    assert "third" in examples(metrics, "writ_step_seconds")["0.005"]


def test_operation_is_an_exemplar_of_its_endpoint() -> None:
    metrics = Metrics(("claim",))
    fields = {"operation_id": "op1"}
    metrics.handled(HandledMessage(endpoint="claim", outcome="ok", seconds=0.002, fields=fields))
    assert 'operation_id="op1"' in examples(metrics, "writ_handled_seconds")["0.0025"]


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
    observe(
        HandledMessage(endpoint="request", outcome="refused", code="denied", seconds=0.002, fields={"operation": "op1"})
    )
    observe(HandledMessage(endpoint="claim", outcome="ok", seconds=0.001))
    observe(HandledMessage(endpoint="claim", outcome="failed", code="internal", seconds=0.001))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line.get("code")) for line in lines] == [
        ("request.handled", "info", "denied"),
        ("claim.handled", "info", None),
        ("claim.handled", "error", "internal"),
    ]
    assert (lines[0]["operation"], lines[0]["ms"]) == ("op1", 2.0)
    rows = series(metrics)
    assert rows['writ_handled_total{code="denied",endpoint="request",outcome="refused"}'] == 1
    assert rows['writ_handled_seconds_count{endpoint="claim"}'] == 2
