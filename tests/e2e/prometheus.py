"""A real Prometheus beside a running installation."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from msgspec import json

from writ_installation.processes.child import tie
from writ_installation.processes.readiness import read_run_file
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.programs import program

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yaml"
RESENT = "--rules.alert.resend-delay=1s"
"""An alert sent before Prometheus knows an Alertmanager, or while that starts, is lost until it is sent again."""


class Prometheus:
    """Prometheus' HTTP API, on this port of loopback."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the present result of the query; it is empty while Prometheus does not answer."""
        found = await self._ask("query", query=expression)
        return list(found["result"]) if found else []

    async def fires(self, alert: str) -> bool:
        """Return whether the alert is firing, not only pending."""
        return bool(await self.query(f'ALERTS{{alertname="{alert}", alertstate="firing"}}'))

    async def firing(self, alert: str) -> list[dict[str, Any]]:
        """Return the alerts of this name that fire, with labels and annotations."""
        found = await self._ask("alerts")
        each = found["alerts"] if found else []
        return [one for one in each if (one["labels"]["alertname"], one["state"]) == (alert, "firing")]

    async def exemplars(self, expression: str) -> list[dict[str, str]]:
        """Return the labels of the exemplars of an expression's series, each with those of its series."""
        found = await self._ask("query_exemplars", query=expression, start=str(time() - 3600), end=str(time() + 60))
        return [{**one["labels"], **series["seriesLabels"]} for series in found or () for one in series["exemplars"]]

    async def _ask(self, what: str, **parameters: str) -> Any:
        def ask() -> Any:
            with urlopen(f"{self._url}/{what}?{urlencode(parameters)}", timeout=5) as answer:
                return json.decode(answer.read())["data"]

        try:
            return await asyncio.to_thread(ask)
        except OSError:
            return None


def hasty_rules(folder: Path) -> Path:
    """Return a copy of the rules of the tree in which each alert fires a second after its cause."""
    path = folder / "rules.yaml"
    path.write_text(re.sub(r"(?m)^( +for:) \w+$", r"\1 1s", RULES.read_text()))
    return path


@asynccontextmanager
async def running(log: Path, *command: str) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*tie(), *command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


@asynccontextmanager
async def scraping(
    installation: RunningInstallation, folder: Path, *, alertmanager: int | None = None, rules: Path = RULES
) -> AsyncIterator[Prometheus]:
    """Run a Prometheus which scrapes every process once a second, with exemplars and the alert rules of the tree.

    Its alerts go to the Alertmanager on that port. The fixture yields after the first scrape of each process, so later
    counts are increases.
    """
    state, port = folder / "prometheus", free_port()
    targets = _targets(installation)
    state.mkdir()
    (state / "config.yaml").write_text(yaml.safe_dump(_configuration(targets, alertmanager, rules)))
    command = (
        program("prometheus"),
        f"--config.file={state / 'config.yaml'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={state / 'data'}",
        f"--web.console.templates={RULES.parent / 'consoles'}",
        f"--web.external-url=http://127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        RESENT,
    )
    async with running(state / "log", *command):
        prometheus = Prometheus(port)

        async def each() -> bool:
            return len(await prometheus.query("up == 1")) == len(targets)

        await eventually(each, within=60, what="a scrape of each process")
        yield prometheus


def _targets(installation: RunningInstallation) -> list[str]:
    runs = [read_run_file(installation.home.run / f"{one.name}.json", one.pid) for one in installation.report.processes]
    return [f"127.0.0.1:{run.health_port}" for run in runs if run]


def _configuration(targets: list[str], alertmanager: int | None, rules: Path) -> dict[str, Any]:
    alertmanagers = [] if alertmanager is None else [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "writ", "static_configs": [{"targets": targets}]}],
        "alerting": {"alertmanagers": alertmanagers},
    }
