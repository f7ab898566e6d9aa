"""A real Prometheus scrapes a running installation, and the alerts of the tree's rules reach a webhook."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from msgspec import json
from tests.docs.test_runbooks import ALERTS, METRIC
from tests.e2e.prometheus import Prometheus, running, scraping
from tests.e2e.test_forging_is_recorded import counted, forge

from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.programs import program

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
WITHIN = 60.0


class Webhook:
    """The receiver of notifications: it collects Alertmanager's posts, alert by alert."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length:")[2].split()[0])
        self.alerts += json.decode(await reader.readexactly(size))["alerts"]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


def telling(webhook: int) -> dict[str, Any]:
    receiver = {"name": "hook", "webhook_configs": [{"url": f"http://127.0.0.1:{webhook}/"}]}
    route = {"receiver": "hook", "group_wait": "0s", "group_interval": "1s", "group_by": ["..."]}
    return {"route": route, "receivers": [receiver]}


ELSEWHERE = {
    "writ_nats_certificate_end_seconds": "NATS speaks no TLS here: tests/e2e/test_tls.py",
    "writ_nats_copies_behind": "NATS is one server here: tests/faults/test_cluster.py",
    "writ_agent_deployments_total": "nothing is deployed here: deploy/prometheus/rules_test.yaml",
    "writ_agent_target_reachable": "no target was visited: tests/e2e/test_backends.py",
    "writ_gateway_http_replies_total": "no gateway serves HTTP here: tests/gateway/test_service.py",
}
"""Metrics of the rules that this installation does not have, and the test that has them."""


@asynccontextmanager
async def watched(installation: RunningInstallation, folder: Path) -> AsyncIterator[tuple[Prometheus, Webhook]]:
    """Yield the installation with Prometheus, Alertmanager and a receiver."""
    webhook, port, state = Webhook(), free_port(), folder / "alertmanager"
    state.mkdir()
    command = (
        program("prometheus-alertmanager"),
        f"--config.file={state / 'config.yaml'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        f"--storage.path={state / 'data'}",
    )
    async with await asyncio.start_server(webhook.take, "127.0.0.1", 0) as hook:
        (state / "config.yaml").write_text(yaml.safe_dump(telling(hook.sockets[0].getsockname()[1])))
        async with scraping(installation, folder, alertmanager=port) as prometheus, running(state / "log", *command):
            yield prometheus, webhook


async def test_violation_before_the_first_scrape_fires_and_its_link_leads_to_its_runbook(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    """`increase` alone sees no event of a process that was counted when Prometheus first came."""
    await forge(installation, "operator", of="other")

    async def is_counted() -> bool:
        return await counted(installation, "writ_security_events_total", "permission_violation") > 0

    await eventually(is_counted, within=WITHIN, what="the count of the event")
    async with scraping(installation, tmp_path) as prometheus:
        [alert] = await eventually(lambda: prometheus.firing("WritSecurityViolation"), within=WITHIN, what="the alert")
        address, _, place = alert["annotations"]["runbook_url"].partition("#")
        page = await asyncio.to_thread(opened, address)
    assert (alert["labels"]["kind"], place) == ("permission_violation", "writsecurityviolation")
    assert f'<h2 id="{place}">WritSecurityViolation</h2>' in page


def opened(address: str) -> str:
    with urlopen(address, timeout=10) as reply:
        assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
        return str(reply.read().decode())


async def test_forged_request_is_alerted_on_and_reaches_a_webhook_and_mistakes_are_no_violations(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    async with watched(installation, tmp_path) as (prometheus, webhook):
        named = sorted({word for rule in ALERTS.values() for word in METRIC.findall(rule["expr"])} - ELSEWHERE.keys())

        async def all_there() -> bool:
            return all([await prometheus.query(name) for name in named])

        async def mistake_counted() -> bool:
            return bool(await prometheus.query('writ_policy_load_errors_total{file="policy"} > 0'))

        await eventually(all_there, within=WITHIN, what="each metric of the rules")
        good = installation.home.policy.read_text()
        installation.home.policy.write_text(good.replace("deny_by_default", "deny_by_defualt"))
        try:
            await eventually(mistake_counted, within=WITHIN, what="the refused file")
            done = await installation.writ("run", "file_read", "-t", "web-1", "file_path=/etc/hostname")
            assert "outside_roots" in done.out
            await forge(installation, "operator", of="other")
            await eventually(lambda: _alert_arrived(webhook), within=WITHIN, what="the webhook")
        finally:
            installation.home.policy.write_text(good)
    [alert] = [one for one in webhook.alerts if one["labels"]["alertname"] == "WritSecurityViolation"]
    kind = "permission_violation"
    assert alert["labels"] == {"alertname": "WritSecurityViolation", "severity": "critical", "kind": kind}
    assert alert["annotations"]["summary"] == f"Security events of kind {kind} were recorded"
    assert alert["status"] == "firing"


async def _alert_arrived(webhook: Webhook) -> bool:
    return any(one["labels"]["alertname"] == "WritSecurityViolation" for one in webhook.alerts)
