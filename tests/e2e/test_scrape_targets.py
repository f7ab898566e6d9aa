"""Prometheus finds the processes of `writ up` and of the units by the shipped configurations."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.e2e.prometheus import Prometheus, running

from writ_installation.processes.readiness import read_run_file
from writ_installation.status.control import InstallationStatus, ProcessStatus
from writ_installation.status.foreign_processes import GATEWAY_PORT, PROVISIONER_PORT, UNITS
from writ_installation.status.scrape_targets import scrape_targets
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.programs import program

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"


def test_scrape_targets_have_an_address_a_service_and_a_process() -> None:
    def process(name: str, port: int | None, host: str = "127.0.0.1") -> ProcessStatus:
        return ProcessStatus(
            name=name, ready=True, state="ready", pid=None, restarts=0, health_port=port, health_host=host
        )

    names = [process("nats", None), process("executor-2", 1), process("policy@1", 2), process("audit ::1", 3, "::1")]
    names += [process("policy.2", 4), process("agent-local-web-1", 5), process("agent-local-web-1.2", 6)]
    status = InstallationStatus(home="", state="ready", url="", ready=True, processes=names, journal=None)
    found = [(one["targets"], one["labels"]["service"], one["labels"]["process"]) for one in scrape_targets(status)]
    assert found == [
        (["127.0.0.1:1"], "executor", "executor-2"),
        (["127.0.0.1:2"], "policy", "policy@1"),
        (["[::1]:3"], "audit", "audit ::1"),
        (["127.0.0.1:4"], "policy", "policy.2"),
        (["127.0.0.1:5"], "agent-local-web-1", "agent-local-web-1"),
        (["127.0.0.1:6"], "agent-local-web-1", "agent-local-web-1.2"),
    ]


@pytest.mark.parametrize("name", ["up", "systemd", "prometheus"])
def test_configuration_is_accepted_by_prometheus(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "prometheus")
    (folder / "targets.json").write_text("[]")
    command = [program("promtool"), "check", "config", str(folder / f"{name}.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_configuration_has_the_ports_of_the_units() -> None:
    text = (FOLDER / "systemd.yaml").read_text()
    units = {name: [f"127.0.0.1:{port + 1}"] for name, port in UNITS.items()}
    expected = {**units, "keeper": [f"127.0.0.1:{PROVISIONER_PORT}"]}
    assert scraped(text) == expected
    with_gateway = text.replace("# - {targets", "- {targets")
    assert scraped(with_gateway) == {**expected, "gateway": [f"127.0.0.1:{GATEWAY_PORT}"]}


def scraped(text: str) -> dict[str, list[str]]:
    """The addresses of each service in a configuration of Prometheus."""
    groups = yaml.safe_load(text)["scrape_configs"][0]["static_configs"]
    return {one["labels"]["service"]: one["targets"] for one in groups}


@pytest.mark.exhaustive
@pytest.mark.asyncio(loop_scope="module")
async def test_prometheus_scrapes_what_status_prints(installation: RunningInstallation, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "prometheus")
    shown = await installation.writ("status", "-o", "prometheus")
    (folder / "targets.json").write_text(shown.out)
    runs = [read_run_file(installation.home.run / f"{one.name}.json", one.pid) for one in installation.report.processes]
    expected = {f"127.0.0.1:{run.health_port}" for run in runs if run}
    assert {address for group in json.loads(shown.out) for address in group["targets"]} == expected
    port = free_port()
    command = (
        program("prometheus"),
        f"--config.file={folder / 'up.yaml'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
    )
    async with running(tmp_path / "log", *command):
        prometheus = Prometheus(port)

        async def every() -> bool:
            return {one["metric"]["instance"] for one in await prometheus.query("up == 1")} == expected

        await eventually(every, within=60, what="a scrape of each process")
