"""Archives, a backup and a restore while operations run all the time: none is lost, and none runs twice."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from msgspec import json
from tests.e2e.test_journal_archive import ADMIN, ENVIRON, all_once, archivable, archive

from writ_client.client import Writ
from writ_installation.files.home import Home
from writ_testing.installations.count_load import CountLoad, load
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(400)]
TARGETS = ("web-1", "web-2", "web-3")
ARCHIVES = 3
SAMPLED = 12
"""Operations whose events are counted in the journal and all archives."""
ENDS_ONCE = Counter(requested=1, granted=1, finished=1)


async def archived_and_backed_up(installation: RunningInstallation, writ: Writ, ran: CountLoad, folder: Path) -> None:
    """Archive several times; a backup and its restore elsewhere run beside the archives in the middle."""
    for number in range(1, ARCHIVES + 1):
        await ran.more(6)
        await archivable(writ, (await writ.journal()).first + 10)
        beside = [asyncio.create_task(backed_up(installation, ran, folder))] if number == 2 else []
        await archive(installation, folder / f"{number}.writ")
        await asyncio.gather(*beside)


async def backed_up(installation: RunningInstallation, ran: CountLoad, folder: Path) -> None:
    before = [view.operation_id for view in ran.done]
    made = await installation.writ("backup", str(folder / "backup.writ"))
    assert made.status == 0, made
    restored = await installation.writ(
        "restore", str(folder / "backup.writ"), environ={"WRIT_HOME": str(folder / "new" / "home")}
    )
    assert restored.status == 0, restored
    (folder / "before").write_text("\n".join(before))


async def test_archives_a_backup_and_a_restore_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    files = tmp_path / "files"
    targets = [local_target(name, files) for name in TARGETS]
    home = prepare(tmp_path, policy=open_policy(ADMIN), targets=targets)
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        async with load(writ, TARGETS, files / "counted", delay=0.02) as ran:
            await archived_and_backed_up(installation, writ, ran, tmp_path)
            await ran.more(6)
        all_once(ran, files / "counted")
        assert (await writ.journal()).generation == ARCHIVES
        archives = [str(tmp_path / f"{number}.writ") for number in range(1, ARCHIVES + 1)]
        assert (await installation.writ("journal", "verify", *archives)).status == 0
        for view in ran.done[:: max(1, len(ran.done) // SAMPLED)]:
            assert await recorded_once(installation, view.operation_id, archives) == ENDS_ONCE, view
        repeated = await asyncio.gather(*(writ.get(view.operation_id) for view in ran.done))
        assert {view.outcome for view in repeated} == {"succeeded"}
    await goes_on_elsewhere(tmp_path)


async def recorded_once(installation: RunningInstallation, operation_id: str, archives: list[str]) -> Counter[str]:
    """Return how often the journal and all archives together have the beginning, the start and the end of it."""
    kinds = Counter[str]()
    for where in ((), *(("--archive", file) for file in archives)):
        shown = await installation.writ("trace", operation_id, *where, "-o", "json")
        kinds.update(event["kind"] for event in (json.decode(shown.out)["events"] if shown.status == 0 else ()))
    return Counter({kind: kinds[kind] for kind in ENDS_ONCE})


async def goes_on_elsewhere(folder: Path) -> None:
    """Assert that the restored installation knows all ended operations, and takes load from its first second."""
    known, new = (folder / "before").read_text().split(), Home(folder / "new" / "home")
    assert known
    async with (
        running_installation(folder / "new", home=new, executors=2, environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        async with load(writ, TARGETS, folder / "files" / "anew") as ran:
            views = await asyncio.gather(*(writ.get(one) for one in known))
            assert {view.outcome for view in views} == {"succeeded"}
            archivable_from = (await writ.journal()).first
            await ran.more(6)
            await archivable(writ, archivable_from + 10)
            await archive(installation, folder / "anew.writ")
            await ran.more(6)
        all_once(ran, folder / "files" / "anew")
