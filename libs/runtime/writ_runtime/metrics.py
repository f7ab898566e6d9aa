"""Metrics of one process, in a registry of its own; the only user of prometheus_client.

Every label has a closed set of values, given when the metric is made: whatever else comes is counted as `other`, so
that no caller, however hostile, can grow the number of series.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

import prometheus_client as prometheus
from msgspec import Struct

from writ_contracts.errors import CODES
from writ_runtime.logs import Log

OTHER = "other"
OUTCOMES = ("ok", "refused", "failed")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
Labels = Mapping[str, Collection[str]]
Metric = TypeVar("Metric", prometheus.Counter, prometheus.Gauge, prometheus.Histogram)


class Handled(Struct, frozen=True, kw_only=True):
    """What became of one message; it feeds the log and the metrics alike.

    `endpoint` is its kind, never its subject. `outcome`: ok, refused (as it should be) or failed (a defect or a peer).
    `code` is of `writ_contracts.errors.CODES` where it was not ok. `fields` go to the log only.
    """

    endpoint: str
    outcome: str
    seconds: float
    code: str = ""
    fields: Mapping[str, object] = {}


class Metrics:
    """The metrics of one service, those of its process and of the handled messages included."""

    def __init__(self, endpoints: Collection[str] = ()) -> None:
        self._registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self._registry)
        prometheus.GCCollector(registry=self._registry)
        labels = {"endpoint": endpoints, "outcome": OUTCOMES, "code": {"", *CODES}}
        self._handled = self.counter("writ_handled_total", "Messages handled, by what became of them.", labels)
        self._seconds = self.histogram("writ_handled_seconds", "Time to handle a message.", {"endpoint": endpoints})

    def handled(self, record: Handled) -> None:
        """Counts and times one message."""
        self._handled.add(endpoint=record.endpoint, outcome=record.outcome, code=record.code)
        self._seconds.observe(record.seconds, endpoint=record.endpoint)

    def counter(self, name: str, text: str, labels: Labels | None = None) -> "Counter":
        """A number that only grows; its name ends in `_total`."""
        return Counter(prometheus.Counter(name, text, list(labels or {}), registry=self._registry), labels or {})

    def gauge(self, name: str, text: str, labels: Labels | None = None) -> "Gauge":
        """A number that goes up and down, set by its owner."""
        return Gauge(prometheus.Gauge(name, text, list(labels or {}), registry=self._registry), labels or {})

    def measure(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A number that is read whenever somebody asks."""
        prometheus.Gauge(name, text, registry=self._registry).set_function(read)

    def info(self, name: str, text: str) -> "Info":
        """Words about the present, such as a version; they come from its operator, never from a caller."""
        return Info(prometheus.Info(name, text, registry=self._registry))

    def histogram(self, name: str, text: str, labels: Labels | None = None) -> "Histogram":
        """A distribution of seconds."""
        made = prometheus.Histogram(name, text, list(labels or {}), registry=self._registry, buckets=SECONDS)
        return Histogram(made, labels or {})

    def exposition(self) -> bytes:
        """All of it in the Prometheus text format."""
        return prometheus.generate_latest(self._registry)


class Series(Generic[Metric]):
    """The series of one metric by their labels, each looked up once: there are few, since labels have closed sets."""

    def __init__(self, metric: Metric, labels: Labels) -> None:
        self._metric: Metric = metric
        self._allowed = {name: frozenset(values) for name, values in labels.items()}
        self._found: dict[tuple[str, ...], Metric] = {}

    def of(self, labels: Mapping[str, str]) -> Metric:
        """The one with these labels."""
        if not self._allowed:
            return self._metric
        key = tuple(labels[name] if labels[name] in values else OTHER for name, values in self._allowed.items())
        if key not in self._found:
            self._found[key] = self._metric.labels(*key)
        return self._found[key]


class Counter:
    """A count of things that happened."""

    def __init__(self, metric: prometheus.Counter, labels: Labels) -> None:
        self._series = Series(metric, labels)

    def add(self, amount: float = 1, /, **labels: str) -> None:
        """Adds to the series of these labels."""
        self._series.of(labels).inc(amount)


class Gauge:
    """A present state."""

    def __init__(self, metric: prometheus.Gauge, labels: Labels) -> None:
        self._series = Series(metric, labels)

    def set(self, value: float, /, **labels: str) -> None:
        """Sets the series of these labels."""
        self._series.of(labels).set(value)


class Info:
    """Words as the labels of one series, `<name>_info`, in place of the last ones."""

    def __init__(self, metric: prometheus.Info) -> None:
        self._metric = metric

    def set(self, **words: str) -> None:
        """Says so from now on."""
        self._metric.info(words)


class Histogram:
    """How long things took."""

    def __init__(self, metric: prometheus.Histogram, labels: Labels) -> None:
        self._series = Series(metric, labels)

    def observe(self, seconds: float, /, **labels: str) -> None:
        """Adds one observation to the series of these labels."""
        self._series.of(labels).observe(seconds)


class Observer:
    """Where every handler ends: one record in, one log line and one count out."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics

    def __call__(self, record: Handled) -> None:
        """A refusal is not an error: only what failed is logged as one."""
        self._metrics.handled(record)
        level = logging.ERROR if record.outcome == "failed" else logging.INFO
        code = {"code": record.code} if record.code else {}
        told = {"outcome": record.outcome, **code, "ms": round(record.seconds * 1000, 3)}
        self._log.write(level, f"{record.endpoint}.handled", {**record.fields, **told})
