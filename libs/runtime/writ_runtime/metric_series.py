"""The series of one metric, with bounded labels.

Every label has a closed set of values, given with the metric, or a bounded number of an operator's own names. Any other
value is counted as `other`, so no caller, however hostile, can grow the number of series.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from time import perf_counter
from typing import Generic, TypeVar

import prometheus_client as prometheus

from writ_bus import tracing

OTHER = "other"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
POOLS = 50
"""Pools with series of their own: with `local-<host>` there may be thousands of pools."""
EXAMPLE_EVERY = 1.0
"""Seconds before a bucket takes another exemplar: no more are kept than are scraped."""


class AtMost:
    """Label values from an operator's files, such as pools: the first `most` keep their names, the rest are `other`.
    One object shared by several metrics names the same ones in all.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._names: set[str] = set()

    def named(self, value: str) -> str:
        """Return the value or `other`; no value stays none."""
        if value and value not in self._names:
            if len(self._names) >= self.most:
                return OTHER
            self._names.add(value)
        return value


class AnyOf(AtMost):
    """Label values which change all the time, whose owner has a bounded number of them."""

    def named(self, value: str) -> str:
        """Return the value itself."""
        return value


Labels = Mapping[str, Collection[str] | AtMost]
Metric = TypeVar("Metric", prometheus.Counter, prometheus.Gauge, prometheus.Histogram)


class Series(Generic[Metric]):
    """The series of one metric by their labels, each looked up once: closed sets of labels keep them few."""

    def __init__(self, metric: Metric, labels: Labels) -> None:
        self._metric: Metric = metric
        self._names = tuple(labels)
        self._naming = [_naming(values) for values in labels.values()]
        self._found: dict[tuple[str, ...], Metric] = {}

    def of(self, labels: Mapping[str, str]) -> Metric:
        if not self._names:
            return self._metric
        return self._found.get(tuple(map(labels.__getitem__, self._names))) or self._look_up(labels)

    def _look_up(self, labels: Mapping[str, str]) -> Metric:
        """Return the series. Its own labels find it next time, unless one of them became `other`."""
        key = tuple(named(labels[name]) for name, named in zip(self._names, self._naming, strict=True))
        return self._found.setdefault(key, self._metric.labels(*key))

    def forget(self) -> None:
        self._found.clear()
        self._metric.clear()


def _naming(values: Collection[str] | AtMost) -> Callable[[str], str]:
    if isinstance(values, AtMost):
        return values.named
    closed = frozenset(values)
    return lambda value: value if value in closed else OTHER


class Counter:
    def __init__(self, metric: prometheus.Counter, labels: Labels) -> None:
        self._series = Series(metric, labels)

    def add(self, amount: float = 1, /, **labels: str) -> None:
        """Add to the series of these labels."""
        self._series.of(labels).inc(amount)


class Gauge:
    def __init__(self, metric: prometheus.Gauge, labels: Labels) -> None:
        self._names = tuple(labels)
        self._series = Series(metric, labels)

    def set(self, value: float, /, **labels: str) -> None:
        """Set the series of these labels."""
        self._series.of(labels).set(value)

    def replace(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Replace all series by these, with labels in the order of their declaration."""
        self._series.forget()
        for key, value in values.items():
            self._series.of(dict(zip(self._names, key, strict=True))).set(value)


class Info:
    """Texts as the labels of one series, `<name>_info`."""

    def __init__(self, metric: prometheus.Info) -> None:
        self._metric = metric

    def set(self, **words: str) -> None:
        self._metric.info(words)


class Histogram:
    """A histogram of durations. The slow case of a bucket is remembered as its exemplar."""

    def __init__(self, metric: prometheus.Histogram, labels: Labels) -> None:
        self._series = Series(metric, labels)
        self._due: dict[prometheus.Histogram, list[float]] = {}

    def observe(self, seconds: float, operation_id: str = "", /, **labels: str) -> None:
        """Add an observation to the series of these labels, with the operation as exemplar if there is one."""
        self._add(self._series.of(labels), seconds, operation_id)

    def time(self, operation_id: str = "", /, **labels: str) -> "Timing":
        """Time the block, also if it fails."""
        return Timing(self._add, self._series.of(labels), operation_id)

    def _add(self, metric: prometheus.Histogram, seconds: float, operation_id: str) -> None:
        metric.observe(seconds, self._example(metric, seconds, operation_id) if operation_id else None)

    def _example(self, metric: prometheus.Histogram, seconds: float, operation_id: str) -> dict[str, str] | None:
        due = self._due.get(metric) or self._due.setdefault(metric, [0.0] * (len(SECONDS) + 1))
        bucket, now = bisect_left(SECONDS, seconds), perf_counter()
        if now < due[bucket]:
            return None
        due[bucket] = now + EXAMPLE_EVERY
        trace = tracing.current()
        return {"operation_id": operation_id, **({"trace_id": trace.trace_id} if trace else {})}


class Timing:
    """One timed block. There are a dozen for each operation, so it costs little."""

    __slots__ = ("_add", "_began", "_metric", "_operation_id")

    def __init__(
        self,
        add: Callable[[prometheus.Histogram, float, str], None],
        metric: prometheus.Histogram,
        operation_id: str,
    ) -> None:
        self._add, self._metric, self._operation_id = add, metric, operation_id

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        self._add(self._metric, perf_counter() - self._began, self._operation_id)
