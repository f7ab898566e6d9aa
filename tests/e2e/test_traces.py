"""One operation is one connected trace at a collector, through every process; and no collector can disturb one."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Set
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec import json
from tests.runtime.collector import Collector, ReceivedSpan, collecting

from writ_client.client import Writ
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.peers.nats_server import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
CANARY = "canary-91c4d7"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
SERVICES = {"writ-client", "writ-executor", "writ-policy", "writ-agent-local", "writ-audit"}
PARTS = {
    "client: ask request",
    "executor: executor request",
    "executor: ask policy",
    "policy: policy decide",
    "executor: append requested",
    "executor: append dispatched",
    "agent-local: carry out",
    "agent-local: look",
    "agent-local: ask claim",
    "executor: executor claim",
    "policy: policy grant",
    "policy: append granted",
    "agent-local: run",
    "agent-local: tell",
    "agent-local: ask receipt",
    "executor: executor receipt",
    "executor: append finished",
    *(f"audit: index {kind}" for kind in ("requested", "dispatched", "granted", "finished")),
}
"""Of an operation that only reads. Each process sends its own when it pleases: any may come last."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as listening:
        yield listening


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "WRIT_DISPATCH_AT_ONCE": "false", **SOON}
    denied = {"name": "nobody_fails", "operations": ["test_fail"], "allowed": False, "target_roles": ["production"]}
    targets = [local_target("web-1", folder / "files"), local_target("db-1", folder / "files", role="production")]
    home = prepare(folder, targets=targets, policy=open_policy(denied))
    async with running_installation(folder, home=home, executors=2, environ=environ) as running:
        yield running


def named(spans: Iterable[ReceivedSpan]) -> set[str]:
    return {f"{one.service.removeprefix('writ-')}: {one.name}" for one in spans}


async def whole(collector: Collector, trace_id: str, parts: Set[str] = PARTS) -> list[ReceivedSpan]:
    """The spans of a trace, once every part and all their parents are there."""

    async def there() -> list[ReceivedSpan] | None:
        spans = collector.of(trace_id)
        ids = {one.span_id for one in spans} | {""}
        return spans if parts <= named(spans) and all(one.parent_id in ids for one in spans) else None

    return await eventually(there, within=30, what="a connected trace of every part")


async def trace_of(installation: RunningInstallation, operation_id: str) -> str:
    async with await installation.client() as writ:
        (first, *_) = (await writ.trace(operation_id=operation_id)).events
    return str(first.body["traceparent"].split("-")[1])


async def run_operation(installation: RunningInstallation, *words: str) -> str:
    """Return the id of an operation requested by the `writ` command."""
    ended = await installation.writ("run", *words, "-o", "json")
    return str(json.decode(ended.out)["operation_id"])


async def test_one_operation_is_one_connected_trace_through_every_process(
    installation: RunningInstallation, collector: Collector
) -> None:
    operation_id = await run_operation(installation, "test_noop", "--target", "web-1")
    spans = await whole(collector, await trace_of(installation, operation_id))
    assert {one.service for one in spans} == SERVICES
    assert [one.name for one in spans if not one.parent_id] == ["submit test_noop"]
    assert not any(one.failed for one in spans)


async def test_each_span_says_what_it_belongs_to(installation: RunningInstallation, collector: Collector) -> None:
    operation_id = await run_operation(installation, "test_noop", "--target", "web-1", "--correlation-id", "change-42")
    spans = await whole(collector, await trace_of(installation, operation_id))
    assert {one.attributes["writ.correlation_id"] for one in spans} == {"change-42"}
    for service in SERVICES:
        ids = {one.attributes.get("writ.operation_id") for one in spans if one.service == service}
        assert operation_id in ids <= {operation_id, None}, service
    servers = [one for one in spans if one.kind in ("server", "consumer")]
    assert {one.attributes.get("writ.operation_id") for one in servers} == {operation_id}
    (decided,) = (one for one in spans if one.name == "policy decide")
    expected = {
        "writ.principal": "operator",
        "writ.operation": "test_noop",
        "writ.target": "web-1",
        "writ.effect": "allow",
    }
    assert expected.items() <= decided.attributes.items()


async def test_a_trace_that_the_requester_is_in_is_continued(
    installation: RunningInstallation, collector: Collector
) -> None:
    """The client here works without Writ's library, in a span of its own."""
    trace_id, mine = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    async with await installation.client() as writ:
        bus = writ._bus
        wish = json.encode({"target": "web-1", "parameters": {}})
        headers = {"traceparent": f"00-{trace_id}-{mine}-01"}
        await bus.request("writ.request.operator.test_noop", wish, timeout=10, headers=headers)

        async def there() -> bool:
            return {"executor: executor request", "audit: index finished"} <= named(collector.of(trace_id))

        await eventually(there, within=30)
        unsampled = {"traceparent": f"00-{'a' * 32}-{mine}-00"}
        await bus.request("writ.request.operator.test_noop", wish, timeout=10, headers=unsampled)
    (first,) = (one for one in collector.of(trace_id) if one.name == "executor request")
    assert first.parent_id == mine
    assert collector.of("a" * 32) == []


async def test_trace_shows_denials_and_failures(installation: RunningInstallation, collector: Collector) -> None:
    denied = await run_operation(installation, "test_fail", "--target", "db-1")
    spans = await whole(
        collector, await trace_of(installation, denied), {"policy: policy decide", "audit: index refused"}
    )
    (decided,) = (one for one in spans if one.name == "policy decide")
    assert (decided.attributes["writ.effect"], decided.attributes["writ.rules"]) == ("deny", ["nobody_fails"])
    assert {one.service for one in spans} == SERVICES - {"writ-agent-local"}


async def test_no_secret_is_in_any_span(
    installation: RunningInstallation, collector: Collector, tmp_path: Path
) -> None:
    async with await installation.client() as writ:
        kept = await writ.run("test_secret", "web-1", {"secret": CANARY, "label": "here"}, timeout=30)
        wrong = await writ.submit("test_secret", "web-1", {"secret": [CANARY]})
        assert (await writ.result(kept.operation_id) or {})["echo"] == CANARY
    for operation_id, last in ((kept.operation_id, "finished"), (wrong.operation_id or "", "refused")):
        trace_id = await trace_of(installation, operation_id)

        async def there(trace_id: str = trace_id, last: str = last) -> bool:
            return f"audit: index {last}" in named(collector.of(trace_id))

        await eventually(there, within=30)
    assert kept.operation_id.encode() in collector.raw
    assert CANARY.encode() not in collector.raw


@pytest.mark.parametrize("trouble", some(["deaf", "gone"], "deaf"))
async def test_a_collector_that_does_not_answer_disturbs_nothing(tmp_path: Path, trouble: str) -> None:
    async with collecting() as collector:
        collector.deaf = True
        url = collector.url if trouble == "deaf" else f"http://127.0.0.1:{free_port()}"
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_MAX_QUEUE_SIZE": "64", **SOON}
        environ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] = "64"
        async with running_installation(tmp_path, environ=environ) as installation, await installation.client() as writ:
            done = await asyncio.gather(*(_run(writ) for _ in range(40)))
            ended = await installation.writ("run", "test_noop", "--target", "web-1")
        assert set(done) == {"succeeded"}
        assert ended.status == 0, ended
        assert "service.stop_overran" not in installation.logs()
        assert all(f'"event":"{word}"' in installation.logs() for word in ("service.stopping", "service.stopped"))
        assert (len(collector.paths) > 0) == (trouble == "deaf")


async def _run(writ: Writ) -> str | None:
    return (await writ.run("test_noop", "web-1", timeout=60)).outcome
