"""A misspelt target is no record, and the operator on the host gets a list of targets without policy."""

import json
import os
from pathlib import Path

import pytest
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_contracts.requests import TargetView
from writ_installation.files.home import Home
from writ_installation.files.lock import held
from writ_installation.processes.report import InstallationReport, write_report


async def test_a_misspelt_target_is_refused_before_it_is_on_record(command: Command, served: ScriptedApi) -> None:
    served.targets = [TargetView(id="web-1", role="testing", backend="ssh", pool="ssh", operations=[])]
    run = ("run", "service_restart", "service_name=nginx", "-t")
    done = await command(*run, "web-2")
    assert done.stderr == "writ: no target 'web-2' among those that you may list; did you mean 'web-1'?\n"
    assert (done.exit_code, served.requests) == (2, [])
    everywhere = await command("run", "service_restart", "service_name=nginx", "--all")
    assert everywhere.stderr.startswith("writ: --all is 1 target: confirm with --yes")
    assert (await command(*run, "web-1")).exit_code == 0
    assert (await command(*run, "payroll")).exit_code == 0  # perhaps hidden from alice: to be on record
    assert [request.target for _, request in served.requests] == ["web-1", "payroll"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("run x -t web-1,web-2", "'web-1,web-2': one for each option, `-t web-1 -t web-2`"),
        ("run x -t vm,d*", "'vm,d*': one for each option, `-t vm -t d*`"),
        ("run x -t db -t ,", "',': `writ target list` lists them"),
        ("stop set -t vm,db", "'vm,db': one for each option, `-t vm -t db`"),
        ("simulate x -t vm,db", "'vm,db': one target only"),
        ("target test vm,db", "'vm,db': `writ target test vm db`"),
    ],
)
async def test_list_of_targets_in_one_value_is_refused_with_the_way_to_name_them(
    command: Command, served: ScriptedApi, line: str, hint: str
) -> None:
    done = await command(*line.split())
    assert done.stderr.startswith(f"writ: no target {hint} (see")
    assert (done.exit_code, done.stdout, served.requests) == (2, "", [])


async def test_targets_of_the_inventory_are_listed_on_the_host_while_policy_is_silent(
    command: Command, served: ScriptedApi, environ: dict[str, str], tmp_path: Path
) -> None:
    served.silent_policy = True
    refused = await command("target", "list")
    assert (refused.exit_code, refused.stdout) == (6, "")
    home = Home(tmp_path / "home")
    home.make_folders()
    home.inventory.write_text("targets:\n  - {id: web-1, role: testing, backend: docker, tags: [web]}\n")
    here = InstallationReport(pid=os.getpid(), state="ready", url=environ["NATS_URL"], started_at=0.0, processes=[])
    write_report(home.report_file, here)
    with held(home.lock):
        listed = await command("target", "list", "-o", "json", WRIT_HOME=str(home.root), NATS_URL="")
    assert listed.exit_code == 6
    assert [(one["id"], one["tags"], one["operations"]) for one in json.loads(listed.stdout)] == [
        ("web-1", ["web"], [])
    ]
    assert "policy does not answer" in listed.stderr
    assert f"These are the targets of {home.inventory}" in listed.stderr


async def test_empty_inventory_leads_to_the_command_that_adds_a_target(
    command: Command, served: ScriptedApi, environ: dict[str, str], tmp_path: Path
) -> None:
    served.targets = []
    elsewhere = await command("target", "list")
    assert "there is no target that alice may list: some rule has to reach one" in elsewhere.stderr
    home = Home(tmp_path / "home")
    home.make_folders()
    home.inventory.write_text("targets: []\n")
    here = InstallationReport(pid=os.getpid(), state="ready", url=environ["NATS_URL"], started_at=0.0, processes=[])
    write_report(home.report_file, here)
    with held(home.lock):
        listed = await command("target", "list", WRIT_HOME=str(home.root), NATS_URL="")
    assert listed.exit_code == 0
    assert listed.stderr == f"writ: {home.inventory} has no target: `writ target add` adds one\n"
