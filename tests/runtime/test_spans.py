"""Spans at a collector: OpenTelemetry's form, cost without a collector, and a collector that does not answer."""

import subprocess
import sys
import threading
import time

import pytest
from tests.runtime.collector import collecting

from writ_bus import tracing
from writ_contracts.errors import ConfigError
from writ_runtime import spans
from writ_runtime.spans import CLOSE_SECONDS, exporting
from writ_testing.eventually import eventually

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SERVICES = ("policy", "executor", "audit", "agent_local", "agent_ssh")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait long for spans, since a slow machine only delays them."""
    monkeypatch.setattr(spans, "CLOSE_SECONDS", 30.0)


@pytest.mark.usefixtures("patient")
async def test_a_span_arrives_with_the_ids_that_messages_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with exporting("executor"):
            trace = tracing.incoming({tracing.TRACEPARENT: PARENT, tracing.CORRELATION: "change-7"})
            with tracing.span("executor claim", trace, "server", **{"messaging.system": "nats"}):
                tracing.note({"rules": ["a", "b"], "outcome": "failed", "code": "", "at": None, "ms": 1.5, "odd": {1}})
        (span,) = collector.spans
    assert (span.service, span.name, span.kind, span.failed) == ("writ-executor", "executor claim", "server", True)
    assert (span.trace_id, span.parent_id) == (trace.trace_id, "00f067aa0ba902b7")
    assert span.span_id == trace.span_id
    assert span.attributes == {
        "writ.correlation_id": "change-7",
        "messaging.system": "nats",
        "writ.rules": ["a", "b"],
        "writ.outcome": "failed",
        "writ.ms": 1.5,
        "writ.odd": "{1}",
    }
    assert collector.paths == ["/v1/traces"]
    assert not tracing.exporting()


@pytest.mark.usefixtures("patient")
async def test_spans_follow_the_standard_otel_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/elsewhere")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "writ in the cellar")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        async with exporting("executor"):
            with tracing.span("dropped", tracing.root()):
                pass
        monkeypatch.delenv("OTEL_TRACES_SAMPLER")
        async with exporting("executor"):
            with tracing.span("kept", tracing.root()):
                pass
    assert [(one.service, one.name, one.parent_id) for one in collector.spans] == [("writ in the cellar", "kept", "")]
    assert collector.paths == ["/elsewhere"]
    assert b"authorization: Bearer t0ken" in collector.raw


async def test_silent_collector_delays_the_end_by_its_timeout_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        collector.deaf = True
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        began = time.monotonic()
        async with exporting("executor"):
            for _ in range(10_000):  # far more than there is room for
                with tracing.span("run", tracing.root()):
                    pass
        assert time.monotonic() - began < CLOSE_SECONDS + 20
        assert collector.spans == []
        collector.afterwards.set()
        await eventually(
            _over, within=60.0, what="the end of the threads that go on, and would log of it in other tests"
        )


async def _over() -> bool:
    return not [one for one in threading.enumerate() if one.name == "last spans" or one.name.startswith("Otel")]


async def test_missing_exporter_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "NEEDED", ("opentelemetry_that_is_not_there.sdk",))
    with pytest.raises(ConfigError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set.*writops-runtime\[otlp\]"):
        async with exporting("executor"):
            pass
    assert not tracing.exporting()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_without_an_endpoint_loads_no_tracing(service: str) -> None:
    program = (
        f"import sys, writ_{service}.__main__; "
        "sys.exit(any(name.partition('.')[0] in ('opentelemetry', 'requests') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
