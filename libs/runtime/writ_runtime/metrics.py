"""Metrics of one process, in a registry of its own. Only this module and metric_series.py use prometheus_client."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice, product
from math import prod

import prometheus_client as prometheus
from msgspec import Struct
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from writ_bus import tasks, tracing
from writ_contracts.errors import CODES
from writ_runtime.logs import Log
from writ_runtime.metric_series import SECONDS, AnyOf, AtMost, Counter, Gauge, Histogram, Info, Labels

OPENMETRICS = "application/openmetrics-text"
OUTCOMES = ("ok", "refused", "failed")
TASKS = 50
"""Names of background tasks; each child of a supervisor has one of its own."""
CHECKS = 32
FEW = 64


class HandledMessage(Struct, frozen=True, kw_only=True):
    """The outcome of one message, for log and metrics alike.

    `endpoint` is its kind, never its subject. `outcome`: ok, refused (as it should be) or failed (a defect or a peer).
    `code` is of `writ_contracts.errors.CODES` unless it was ok. `fields` go to the log only.
    """

    endpoint: str
    outcome: str
    seconds: float
    code: str = ""
    fields: Mapping[str, object] = {}


class Family(Struct, frozen=True, kw_only=True):
    """One declared metric, as in `docs/metrics.md`."""

    name: str
    kind: str
    text: str
    labels: Labels = {}


class Metrics:
    """The metrics of one service, with those of its process, its handled messages and its checks."""

    def __init__(self, endpoints: Collection[str] = ()) -> None:
        self._registry = prometheus.CollectorRegistry()
        self.families: list[Family] = []
        self._before: list[Callable[[], None]] = []
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, of no use here
        prometheus.ProcessCollector(registry=self._registry)
        prometheus.GCCollector(registry=self._registry)
        labels = {"endpoint": endpoints, "outcome": OUTCOMES, "code": {"", *CODES}}
        self._handled = self.counter("writ_handled_total", "Messages handled, by outcome.", labels)
        self._seconds = self.histogram("writ_handled_seconds", "Time to handle a message.", {"endpoint": endpoints})
        self._checks = self.gauge(
            "writ_check_ok", "1 while this check of `/readyz` passes, else 0.", {"check": AtMost(CHECKS)}
        )
        self._ready = self.gauge("writ_ready", "1 while `/readyz` answers 200, else 0.")
        self._ended_tasks = self.counter(
            "writ_tasks_ended_total",
            "Background tasks that ended by an error or although they must not end; permanent ones were started again.",
            {"task": AtMost(TASKS)},
        )
        self.before(self._count_ended_tasks)

    def _count_ended_tasks(self) -> None:
        for name, number in tasks.take_ended().items():
            self._ended_tasks.add(number, task=name)

    def handled(self, record: HandledMessage) -> None:
        """Count and time one message."""
        self._handled.add(endpoint=record.endpoint, outcome=record.outcome, code=record.code)
        self._seconds.observe(record.seconds, str(record.fields.get("operation_id", "")), endpoint=record.endpoint)

    def checked(self, checks: Mapping[str, bool], *, ready: bool) -> None:
        """Export the present results of `/readyz`: each check by name, and all of them."""
        self._checks.replace({(name,): float(well) for name, well in checks.items()})
        self._ready.set(float(ready))

    def counter(self, name: str, text: str, labels: Labels | None = None) -> Counter:
        """Declare a counter; its name ends in `_total`."""
        names = self._declare(name, "counter", text, labels)
        made = Counter(prometheus.Counter(name, text, names, registry=self._registry), labels or {})
        for known in _all(labels or {}):  # from 0 on, or `increase` would not see the first one
            made.add(0, **known)
        return made

    def gauge(self, name: str, text: str, labels: Labels | None = None) -> Gauge:
        """Declare a gauge set by its owner."""
        names = self._declare(name, "gauge", text, labels)
        return Gauge(prometheus.Gauge(name, text, names, registry=self._registry), labels or {})

    def measure(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Declare a number read at each scrape."""
        self._declare(name, "gauge", text)
        prometheus.Gauge(name, text, registry=self._registry).set_function(read)

    def rows(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        read: Callable[[], Mapping[tuple[str, ...], float]],
        most: int,
    ) -> None:
        """Declare a bounded number of rows read at each scrape. Their owner, never a caller, names them."""
        gauge = self.gauge(name, text, dict.fromkeys(labels, AnyOf(most)))
        self.before(lambda: gauge.replace(dict(islice(read().items(), most))))

    def before(self, set_gauges: Callable[[], None]) -> None:
        """Call this at each scrape, for gauges computed together."""
        self._before.append(set_gauges)

    def info(self, name: str, text: str) -> Info:
        """Declare texts about the present, such as a version; they come from its operator, never from a caller."""
        self._declare(f"{name}_info", "info", text)
        return Info(prometheus.Info(name, text, registry=self._registry))

    def histogram(self, name: str, text: str, labels: Labels | None = None) -> Histogram:
        """Declare a histogram of seconds."""
        names = self._declare(name, "histogram", text, labels)
        made = prometheus.Histogram(name, text, names, registry=self._registry, buckets=SECONDS)
        return Histogram(made, labels or {})

    def _declare(self, name: str, kind: str, text: str, labels: Labels | None = None) -> list[str]:
        self.families.append(Family(name=name, kind=kind, text=text, labels=labels or {}))
        return list(labels or {})

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics and their content type: OpenMetrics, which alone has exemplars, if accepted, else
        Prometheus' text format.
        """
        for set_gauges in self._before:
            set_gauges()
        if OPENMETRICS in accept.lower():  # choose_encoder of the library breaks on versions that are no numbers
            encoded: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return encoded, openmetrics.CONTENT_TYPE_LATEST
        return prometheus.generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


def _all(labels: Labels) -> list[dict[str, str]]:
    """Return every combination of closed labels, if there are few."""
    closed = [[(name, value) for value in values] for name, values in labels.items() if not isinstance(values, AtMost)]
    if len(closed) < len(labels) or prod(map(len, closed)) > FEW:
        return []
    return [dict(pairs) for pairs in product(*closed)]


class Observer:
    """The last step of every handler: one record in; one log line, one count and the span's attributes out."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics

    def __call__(self, record: HandledMessage) -> None:
        """Log and count the record. Only a failure is logged as an error; a refusal is not."""
        self._metrics.handled(record)
        level = logging.ERROR if record.outcome == "failed" else logging.INFO
        is_logged, is_traced = self._log.is_enabled(level), tracing.exporting()
        if not is_logged and not is_traced:
            return
        code = {"code": record.code} if record.code else {}
        fields = {**record.fields, "outcome": record.outcome, **code}
        if is_traced:
            tracing.note(fields)
        if is_logged:
            self._log.write(level, f"{record.endpoint}.handled", {**fields, "ms": round(record.seconds * 1000, 3)})
