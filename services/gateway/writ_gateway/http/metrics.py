"""Metrics of the gateway over HTTP: replies by status, tool calls by result, open requests."""

from collections.abc import Callable

from writ_gateway.refusals import KINDS, Count
from writ_runtime.metric_series import AtMost
from writ_runtime.metrics import FEW, Metrics

STATUSES = ("2xx", "400", "401", "403", "404", "405", "408", "413", "421", "429", "503", "other")


def metrics() -> Metrics:
    """Return the metrics; the gateway serves no endpoint of NATS."""
    return Metrics()


class GatewayMeasures:
    """All metrics of the gateway. `open_requests` is read at each scrape."""

    def __init__(self, measured: Metrics, open_requests: Callable[[], float]) -> None:
        self._replies = measured.counter(
            "writ_gateway_http_replies_total", "Replies to HTTP requests, by status.", {"status": STATUSES}
        )
        measured.measure("writ_gateway_http_open_requests", "HTTP requests without an end yet.", open_requests)

    def replied(self, status: int) -> None:
        """Count one reply by its HTTP status."""
        text = "2xx" if 200 <= status < 300 else str(status)
        self._replies.add(status=text if text in STATUSES else "other")


def refusal_count(measured: Metrics) -> Count:
    """Return the function that counts a refusal by principal and kind."""
    refused = measured.counter(
        "writ_gateway_refused_total",
        "Tool calls, and requests above a rate, that the gateway refused before anything was recorded. Many by one "
        "principal: it is probing, or floods the gateway.",
        {"principal": AtMost(FEW), "kind": KINDS},
    )
    return lambda principal, kind: refused.add(principal=principal, kind=kind)
