"""Each panel of the dashboards shows data of a running installation, scraped by a real Prometheus."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import cycle

import pytest
import pytest_asyncio
from deploy.grafana.generate import DASHBOARDS
from tests.docs.test_dashboards import page
from tests.e2e.prometheus import Prometheus, scraping
from tests.e2e.test_metrics import lint

from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.peers.sshd import sshd

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
WITHIN = 60.0
FIXED = {"$__rate_interval": "1m", '"$pool"': '".*"'}
VARIABLE = re.compile(r"\$\w+")
EXPRESSIONS = [
    pytest.param(target["expr"], id=f"{name}: {panel['title']} {target['refId']}")
    for name in DASHBOARDS
    for panel in page(name)["panels"]
    for target in panel.get("targets", ())
]
EXAMPLES = sorted(
    {
        target["expr"]
        for name in DASHBOARDS
        for panel in page(name)["panels"]
        for target in panel.get("targets", ())
        if target.get("exemplar")
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with an agent on this machine, and one for a host over SSH."""
    folder = tmp_path_factory.mktemp("installation")
    async with sshd(folder / "host") as server:
        (server.folder / "root").mkdir()
        server.authorize("host-1")
        host = {
            "id": "host-1",
            "role": "production",
            "backend": "ssh",
            "connection": server.connection(),
            "file_roots": [str(server.folder / "root")],
        }
        denied = {"name": "nobody_fails", "operations": ["test_fail"], "allowed": False, "target_roles": ["production"]}
        home = prepare(folder, targets=[local_target("web-1", folder / "files"), host], policy=open_policy(denied))
        environ = {"WRIT_SSH_KEYS": str(server.keys), "WRIT_SSH_KNOWN_HOSTS": str(server.known_hosts)}
        async with running_installation(folder, home=home, executors=2, environ=environ) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(
    installation: RunningInstallation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    """Yield a Prometheus while operations run."""
    async with (
        scraping(installation, tmp_path_factory.mktemp("prometheus")) as watching,
        await installation.client() as writ,
    ):
        working = asyncio.create_task(_work(writ))
        yield watching
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _work(writ: Writ) -> None:
    """Run a little of every kind of work, again and again, at an even pace."""
    for target in cycle(("web-1", "host-1")):
        with suppress(WritError):  # on a machine that is busy with something else one may get no answer in time
            await writ.run("test_fail", target)
            await writ.run("test_sleep", target, {"seconds": 0.3, "processes": 0})


def filled_in(expression: str) -> str:
    """Return the query as Grafana sends it, with all pools chosen."""
    for variable, value in FIXED.items():
        expression = expression.replace(variable, value)
    assert not VARIABLE.search(expression), expression
    return expression


@pytest.mark.parametrize("expression", EXPRESSIONS)
async def test_a_panel_has_something_to_show(prometheus: Prometheus, expression: str) -> None:
    async def shown() -> bool:
        return any(row["value"][1] != "NaN" for row in await prometheus.query(filled_in(expression)))

    await eventually(shown, within=WITHIN, what=expression)


async def test_the_linter_has_nothing_against_an_agent_that_goes_to_hosts_either(
    installation: RunningInstallation, prometheus: Prometheus
) -> None:
    async def been_there() -> bool:
        return bool(await prometheus.query("writ_agent_target_reachable"))

    await eventually(been_there, within=WITHIN)
    await lint(installation)


@pytest.mark.parametrize("expression", EXAMPLES)
async def test_a_histogram_leads_to_operations(
    installation: RunningInstallation, prometheus: Prometheus, expression: str
) -> None:
    async def led() -> list[dict[str, str]]:
        return [one for one in await prometheus.exemplars(filled_in(expression)) if "trace_id" in one]

    found = await eventually(led, within=WITHIN, what=f"examples of {expression}")
    async with await installation.client() as writ:
        trace = await writ.trace(operation_id=found[-1]["operation_id"])
    assert {event.body["traceparent"].split("-")[1] for event in trace.events} == {found[-1]["trace_id"]}


async def test_one_operation_is_found_on_its_page_by_its_id(
    installation: RunningInstallation, prometheus: Prometheus
) -> None:
    """The slowest operation is the exemplar of the highest bucket."""
    async with await installation.client() as writ:
        done = await writ.run("test_sleep", "web-1", {"seconds": 3})
    expressions = [target["expr"] for panel in page("operation")["panels"] for target in panel.get("targets", ())]

    async def steps() -> bool:
        examples = [one for expression in expressions for one in await prometheus.exemplars(filled_in(expression))]
        mine = [one for one in examples if one["operation_id"] == done.operation_id]
        return {
            "writ_operation_stage_seconds_bucket: whole",
            "writ_operation_stage_seconds_bucket: run",
            "writ_agent_stage_seconds_bucket: run",
        } <= {f"{one['__name__']}: {one['stage']}" for one in mine if "stage" in one}

    await eventually(steps, within=WITHIN)
