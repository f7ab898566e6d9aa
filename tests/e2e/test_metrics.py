"""Metrics of every process of a running installation: Prometheus' linter accepts them, docs/metrics.md names them."""

import asyncio
import subprocess

import pytest
from docs.generate.metrics_table import registries
from tests.e2e.test_health import get

from writ_client.client import Writ
from writ_installation.processes.readiness import read_run_file
from writ_testing.installations.installation import RunningInstallation
from writ_testing.peers.programs import program

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOOLS = ("process_", "python_gc_")


async def scraped(installation: RunningInstallation) -> dict[str, str]:
    """Return the reply to `/metrics` by process."""
    found = {}
    for one in installation.report.processes:
        if one.name != "nats":
            port = read_run_file(installation.home.run / f"{one.name}.json", one.pid)
            assert port is not None, one.name
            found[one.name] = (await asyncio.to_thread(get, port.health_port, "metrics")).decode()
    return found


def families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE writ_")}


def kind(process: str) -> str:
    return process.partition("-")[0]


async def lint(installation: RunningInstallation) -> None:
    """Assert that Prometheus' own linter finds nothing."""
    for name, text in (await scraped(installation)).items():
        command = [program("promtool"), "check", "metrics"]
        done = await asyncio.to_thread(subprocess.run, command, input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name


async def test_the_linter_of_prometheus_has_nothing_against_any_of_them(
    installation: RunningInstallation, writ: Writ
) -> None:
    await writ.run("test_noop", "web-1")
    await lint(installation)


async def test_each_process_has_exactly_the_documented_metrics(installation: RunningInstallation) -> None:
    documented = {name: {one.name for one in metrics.families} for name, metrics in registries().items()}
    for name, text in (await scraped(installation)).items():
        assert families(text) ^ documented[kind(name)] <= {"writ_agent_target_reachable"}, name
        assert all(line.startswith(("# ", "writ_", *TOOLS)) for line in text.splitlines()), name


async def test_an_operation_is_counted_in_every_service_that_it_went_through(
    installation: RunningInstallation, writ: Writ
) -> None:
    def counted(texts: dict[str, str], process: str, *words: str) -> float:
        lines = [line for name, text in texts.items() if kind(name) == process for line in text.splitlines()]
        return sum(float(line.split()[-1]) for line in lines if all(word in line for word in words))

    before = await scraped(installation)
    done = await writ.run("test_noop", "web-1")
    assert done.outcome == "succeeded"
    await writ.trace(operation_id=done.operation_id)  # audit answers when it has it all
    after = await scraped(installation)
    for process, *words in (
        ("policy", "writ_policy_signature_lookups_total{", 'result="hit"'),
        ("policy", "writ_policy_decisions_total{", 'effect="allow"', 'operation="test_noop"', 'role="development"'),
        ("executor", "writ_operations_total{", 'outcome="succeeded"', 'operation="test_noop"', 'pool="local-'),
        ("executor", "writ_operation_stage_seconds_count", 'stage="whole"', 'pool="local-'),
        ("agent", "writ_agent_operations_total{", 'outcome="succeeded"', 'operation="test_noop"'),
        ("agent", "writ_agent_stage_seconds_count", 'stage="run"'),
        ("agent", "writ_agent_execution_seconds_count", 'backend="local"'),
        ("audit", "writ_audit_events_total{", 'kind="finished"'),
    ):
        assert counted(after, process, *words) > counted(before, process, *words), (process, words)
