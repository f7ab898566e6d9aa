"""A misspelt target is refused before it is on record, by the installation's files or by one's list of targets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_cli.context.settings import Settings
from writ_cli.operations.running.operation_check import refuse_misspelt_target
from writ_cli.terminal.output import Screen
from writ_client.client import Writ
from writ_contracts.errors import Invalid
from writ_contracts.requests import TargetView
from writ_installation.files.home import Home
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed

INVENTORY = "targets:\n  - {id: web-1, role: testing, backend: docker}\n"


@pytest.fixture
async def executor() -> ScriptedApi:
    scripted = ScriptedApi(MemoryBus())
    scripted.targets = [TargetView(id="web-1", role="testing", backend="ssh", pool="ssh")]
    await scripted.serve()
    return scripted


@pytest.fixture
async def writ(executor: ScriptedApi) -> AsyncIterator[Writ]:
    async with Writ(MemoryBus(executor.bus.broker), Key(generate_seed()), "alice") as client:  # type: ignore[attr-defined]
        yield client


def settings(folder: Path, **environ: str) -> Settings:
    return Settings(screen=Screen("table"), home=Home(folder), environ=environ)


async def test_targets_of_the_inventory_file_are_known_without_a_query(
    writ: Writ, executor: ScriptedApi, tmp_path: Path
) -> None:
    here = settings(tmp_path)
    here.home.inventory.write_text(INVENTORY)
    with pytest.raises(Invalid, match="no target 'payroll' in the inventory; `writ target list` lists them"):
        await refuse_misspelt_target(here, writ, "payroll")
    for known in ("web-1", "writ"):
        await refuse_misspelt_target(here, writ, known)
    assert executor.queries["targets"] == 0


@pytest.mark.parametrize("environ", [{"NATS_URL": "nats://elsewhere"}, {}])
async def test_command_queries_targets_without_a_usable_inventory_of_the_installation(
    writ: Writ, executor: ScriptedApi, tmp_path: Path, environ: dict[str, str]
) -> None:
    elsewhere = settings(tmp_path, **environ)
    elsewhere.home.inventory.write_text(INVENTORY.replace("web-1", "web-9") if environ else "targets: {}")
    with pytest.raises(Invalid, match="among those that you may list; did you mean 'web-1'"):
        await refuse_misspelt_target(elsewhere, writ, "web-2")
    await refuse_misspelt_target(elsewhere, writ, "web-1")
    await refuse_misspelt_target(elsewhere, writ, "payroll")  # perhaps hidden: the record has to show the request
    executor.targets = [TargetView(id=f"db-{one}", role="testing", backend="ssh", pool="ssh") for one in (1, 2)]
    await refuse_misspelt_target(elsewhere, writ, "db")  # a word of two names is no misspelt one


async def test_request_is_sent_where_nobody_gets_a_list(writ: Writ, executor: ScriptedApi, tmp_path: Path) -> None:
    executor.silent_policy = True
    await refuse_misspelt_target(settings(tmp_path), writ, "web-2")
