"""Every writer besides NATS on a full file system, and after it has room again: clear errors, no partial files."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from tests.containers.test_backup_repository import repository_in, store, whole
from tests.lab.test_full_disk import filled, tmpfs

from writ_cli.terminal.exit_status import Exit
from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    WRIT,
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.peers.restic_repository import create_repository

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
ADMIN = {"name": "archive", "operations": ["journal_archive"], "user_roles": ["admin"], "allowed": True}
ENVIRON = {"WRIT_SWEEP": "0.2", "WRIT_JOURNAL_KEEP": "0.01"}
PLACES = ("config", "state", "files", "out", "vault")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Path]]:
    """A small file system for each kind of writer."""
    folder = tmp_path_factory.mktemp("full")
    found = {name: folder / "home" / name if name in ("config", "state") else folder / name for name in PLACES}
    for path in found.values():
        path.mkdir(parents=True)
    with ExitStack() as mounts:
        for name, path in found.items():
            mounts.enter_context(tmpfs(path, 8 if name == "state" else 2))
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(places: dict[str, Path]) -> AsyncIterator[RunningInstallation]:
    folder = places["files"].parent
    create_repository(places["vault"] / "restic", "a password")
    (folder / "password").write_text("a password")
    backup = {"repository": str(places["vault"] / "restic"), "password_file": str(folder / "password")}
    target = local_target("web-1", places["files"], backup=backup)
    home = prepare(folder, targets=[target], policy=open_policy(ADMIN))
    async with running_installation(folder, home=home, environ=ENVIRON, command=WRIT) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def works(writ: Writ) -> bool:
    return (await writ.run("test_noop", "web-1", timeout=30)).outcome == "succeeded"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_file_of_a_target_is_whole_or_as_it_was(places: dict[str, Path], writ: Writ) -> None:
    path = places["files"] / "ledger"
    wanted = {"file_path": str(path), "content": "x" * 200_000}
    with filled(places["files"]):
        refused = await writ.run("file_write", "web-1", wanted, timeout=30)
        assert (refused.outcome, refused.code) == ("failed", "no_space"), refused
        assert names(places["files"]) == {"fill"}
    assert (await writ.run("file_write", "web-1", wanted, timeout=30)).outcome == "succeeded"
    assert len(path.read_text()) == 200_000


async def test_full_repository_takes_no_backup_and_gives_back_the_one_it_has(
    places: dict[str, Path], writ: Writ
) -> None:
    kept, data = places["files"] / "data", {"target_path": str(places["files"] / "data")}
    kept.mkdir()
    (kept / "ledger").write_text("before")
    made = await writ.run("backup_create", "web-1", {**data, "backup_id": "one"}, timeout=60)
    assert made.outcome == "succeeded", made
    with filled(places["vault"]):
        refused = await writ.run("backup_create", "web-1", {**data, "backup_id": "two"}, timeout=60)
        assert (refused.outcome, refused.code) == ("failed", "no_space"), refused
        (kept / "ledger").write_text("after")
        restored = await writ.run("backup_restore", "web-1", {**data, "backup_id": "one"}, timeout=60)
        assert restored.outcome == "succeeded", restored
        assert (kept / "ledger").read_text() == "before"
    made = await writ.run("backup_create", "web-1", {**data, "backup_id": "two"}, timeout=60)
    assert made.outcome == "succeeded", made


async def test_backup_of_a_container_is_read_from_a_full_repository(tmp_path: Path) -> None:
    with tmpfs(tmp_path, 2):
        repository = repository_in(tmp_path)
        await store(repository, "first", whole())
        with filled(tmp_path):
            with pytest.raises(WritError) as refused:
                await store(repository, "second", whole())
            [kept] = await repository.parts()
            async with repository.dump(kept) as pieces:
                assert [piece async for piece in pieces] == [piece async for piece in whole()]
    assert refused.value.code == "no_space"


@pytest.mark.parametrize(
    "command",
    [
        ("target", "tag", "web-1", "+blue"),
        ("principal", "add", "bob"),
    ],
    ids=["target", "principal"],
)
async def test_edit_of_the_files_is_refused_and_changes_nothing(
    places: dict[str, Path], installation: RunningInstallation, writ: Writ, command: tuple[str, ...]
) -> None:
    config = places["config"]
    before = {path: path.read_bytes() for path in config.iterdir() if path.suffix != ".lock"}
    with filled(config):
        ended = await installation.writ(*command)
        assert ended.status == Exit.FAILED, ended
        assert "No space left on device" in ended.err, ended
        after = {path for path in config.iterdir() if path.suffix != ".lock" and path.name != "fill"}
        assert {path: path.read_bytes() for path in after} == before
        assert await works(writ)
    done = await installation.writ(*command)
    assert done.status == 0, done


@pytest.mark.parametrize("command", [("backup",), ("journal", "archive", "-r", "a drill")], ids=["backup", "archive"])
async def test_file_for_keeping_is_refused_and_the_journal_stays(
    places: dict[str, Path], installation: RunningInstallation, writ: Writ, command: tuple[str, ...]
) -> None:
    assert await works(writ)
    file = places["out"] / "kept.writ"

    async def can_be_archived() -> bool:
        return (await writ.journal()).cut > 1

    await eventually(can_be_archived, within=60, what="that audit has read the journal")
    with filled(places["out"]):
        ended = await installation.writ(*command, str(file))
        assert ended.status == Exit.FAILED, ended
        assert "No space left on device" in ended.err, ended
        assert names(places["out"]) == {"fill"}
    assert await works(writ)
    done = await installation.writ(*command, str(file))
    assert done.status == 0, done
    file.unlink()


async def test_states_of_services_and_the_spool_recover(
    places: dict[str, Path], installation: RunningInstallation, writ: Writ
) -> None:
    path = places["files"] / "counted"
    with filled(places["state"]):  # an agent that can't store its claim sends none: it asks again later
        submitted = (await writ.submit("test_count", "web-1", {"path": str(path)})).operation_id or ""

        async def shown() -> bool:
            return (await installation.writ("status")).status != 0

        await eventually(shown, within=20.0, what="that the status shows it")
    ended = await writ.wait(submitted, timeout=60)
    assert path.exists() == (ended.outcome == "succeeded"), ended

    async def again() -> bool:
        return (await writ.run("test_count", "web-1", {"path": str(path)}, timeout=60)).outcome == "succeeded"

    await eventually(again, within=40.0)

    async def found() -> bool:
        searched = await installation.writ("audit", "search", "--operation", "test_count", "-o", "json")
        return searched.status == 0 and submitted in searched.out

    await eventually(found, within=40.0, what="that audit has all of it")
    assert (await installation.writ("status")).status == 0
