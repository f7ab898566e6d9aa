"""A real restic repository of containers: what a killed restic leaves in it, and a disk without room."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_containers.backups.repository import Repository
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_contracts.inventory import BackupRepository
from writ_testing.eventually import eventually
from writ_testing.peers.restic_repository import create_repository

TAGS = {"writ-id": "first", "writ-container": "db", "writ-path": "/data", "writ-part": "1/1"}


def repository_in(folder: Path) -> Repository:
    create_repository(folder / "repository", "a password")
    (folder / "password").write_text("a password")
    declared = BackupRepository(
        repository=str(folder / "repository"), password_file=str(folder / "password"), host="box"
    )
    return Repository(declared, encode_id(b"x" * 16))


async def store(repository: Repository, backup_id: str, stream: AsyncIterator[bytes]) -> None:
    tags = TAGS | {"writ-id": backup_id, "writ-op": "an operation"}
    await repository.store(tags, "volume-1.tar", stream, full=False)


async def whole() -> AsyncIterator[bytes]:
    yield b"all of it"


@pytest.mark.exhaustive
async def test_backup_is_deleted_although_a_killed_restic_left_its_lock(tmp_path: Path) -> None:
    repository, locks = repository_in(tmp_path), tmp_path / "repository" / "locks"
    await store(repository, "first", whole())

    async def breaking() -> AsyncIterator[bytes]:
        yield b"a part"
        await eventually(lambda: is_locked(locks), within=30)
        raise WritError("the engine went away", code="unreachable")

    with pytest.raises(WritError, match="the engine went away"):
        await store(repository, "second", breaking())
    assert await is_locked(locks)
    [kept] = await repository.parts()
    await repository.forget([kept])
    assert await repository.parts() == []
    assert not await is_locked(locks)


async def is_locked(locks: Path) -> bool:
    """Return whether there is a whole lock, under its final name."""
    return any("-tmp-" not in lock.name for lock in locks.iterdir())
