"""Traces of Writ on a real host: listed, and removed with the target. By the command, as its owner does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.agent_ssh.conftest import ID, SshHost

from writ_cli.main import cli
from writ_hostops import processes


def installed(host: SshHost, folder: Path) -> Path:
    """Return $WRIT_HOME of the owner, with the host as target web1."""
    home = folder / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "ssh").symlink_to(host.server.keys)
    entry = {"id": "web1", "role": "testing", "backend": "ssh", "connection": dict(host.target.connection)}
    # Block style, as the command edits it.
    (home / "inventory.yaml").write_text(f"targets:\n  - {json.dumps(entry)}\n")
    return home


async def writ(host: SshHost, home: Path, *words: str) -> Result:
    environ = {"WRIT_HOME": str(home), "WRIT_SSH_KNOWN_HOSTS": str(host.server.known_hosts), "WRIT_PRINCIPAL": ""}
    return await asyncio.to_thread(CliRunner(env=environ).invoke, cli, ["target", *words])


async def listed(host: SshHost, home: Path) -> dict[str, Any]:
    done = await writ(host, home, "leftovers", "web1", "-o", "json")
    assert done.exit_code == 0, done.stderr
    [found] = json.loads(done.stdout)
    return dict(found)


async def test_a_target_removed_with_clean_leaves_nothing_of_writ_on_its_host(host: SshHost, tmp_path: Path) -> None:
    assert (await host.run("test_count", path=f"{host.root}/counted")).outcome == "succeeded"
    await host.pool.close()
    home, folder = installed(host, tmp_path), host.server.host_folder
    found = await listed(host, home)
    assert (found["folder"], found["others"], found["running"]) == (str(folder), [], 0)
    assert found["files"] > 50
    assert sorted(path.name for path in folder.iterdir()) == ["code", "marks"]
    done = await writ(host, home, "remove", "web1", "--yes", "--clean")
    assert done.exit_code == 0, done.stderr
    assert f"removed: {folder}" in done.stdout
    assert not folder.exists()
    assert (host.root / "counted").exists()
    assert "web1" not in (home / "inventory.yaml").read_text()


@pytest.mark.exhaustive
async def test_files_of_others_in_the_folder_stay_and_are_named(host: SshHost, tmp_path: Path) -> None:
    home, folder = installed(host, tmp_path), host.server.host_folder
    await listed(host, home)
    (folder / "notes").write_text("mine")
    done = await writ(host, home, "remove", "web1", "--yes", "--clean")
    assert "not Writ's, and kept: notes" in done.stdout, done.stderr
    assert [path.name for path in folder.iterdir()] == ["notes"]


@pytest.mark.exhaustive
async def test_a_host_on_which_an_operation_runs_is_not_cleaned(host: SshHost, tmp_path: Path) -> None:
    home, folder = installed(host, tmp_path), host.server.host_folder
    await listed(host, home)
    mark = folder / "marks" / f"{ID}.1.begun"
    mark.parent.mkdir(mode=0o700, exist_ok=True)
    mark.write_text(json.dumps({"process": processes.identity()}))
    refused = await writ(host, home, "remove", "web1", "--yes", "--clean")
    assert (refused.exit_code != 0, "1 operations run on this host" in refused.stderr) == (True, True)
    assert mark.exists()
    assert "web1" in (home / "inventory.yaml").read_text()


async def test_a_host_out_of_reach_keeps_its_target(host: SshHost, tmp_path: Path) -> None:
    home = installed(host, tmp_path)
    await host.server.stop()
    refused = await writ(host, home, "remove", "web1", "--yes", "--clean")
    assert (refused.exit_code != 0, "cannot be reached" in refused.stderr) == (True, True)
    assert "web1" in (home / "inventory.yaml").read_text()
