"""A real restic repository of containers: what a killed restic leaves in it, and a disk without room."""

import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from writ_agent.backends.processes import living
from writ_containers.backups.repository import BUSY, BackupPart, Repository
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_contracts.inventory import BackupRepository
from writ_hostops.processes import kill
from writ_testing.eventually import eventually
from writ_testing.peers.restic_repository import create_repository

OPERATION = encode_id(b"x" * 16)
TAGS = {"writ-id": "first", "writ-container": "db", "writ-path": "/data", "writ-part": "1/1"}


def repository_in(folder: Path) -> Repository:
    create_repository(folder / "repository", "a password")
    (folder / "password").write_text("a password")
    declared = BackupRepository(
        repository=str(folder / "repository"), password_file=str(folder / "password"), host="box"
    )
    return Repository(declared, OPERATION)


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
        kill(living(OPERATION), signal.SIGKILL)
        yield b"another part"

    with pytest.raises(WritError):
        await store(repository, "second", breaking())
    assert await is_locked(locks)
    [kept] = await repository.parts()
    await repository.forget([kept])
    assert await repository.parts() == []
    assert not await is_locked(locks)


async def test_backup_whose_stream_breaks_leaves_neither_a_snapshot_nor_a_lock(tmp_path: Path) -> None:
    repository, locks = repository_in(tmp_path), tmp_path / "repository" / "locks"

    async def breaking() -> AsyncIterator[bytes]:
        yield b"a part"
        await eventually(lambda: is_locked(locks), within=30)
        raise WritError("the engine went away", code="unreachable")

    with pytest.raises(WritError, match="the engine went away"):
        await store(repository, "first", breaking())
    assert living(OPERATION) == []
    assert not await is_locked(locks)
    assert await repository.parts() == []


async def test_read_of_a_backup_that_is_given_up_leaves_neither_a_lock_nor_an_open_pipe(tmp_path: Path) -> None:
    repository, locks = repository_in(tmp_path), tmp_path / "repository" / "locks"

    async def large() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield os.urandom(1 << 20)

    await store(repository, "first", large())
    [part] = await repository.parts()
    before = len(os.listdir("/proc/self/fd"))

    async def read() -> None:
        async with repository.dump(part) as pieces:
            await anext(pieces)
            assert await is_locked(locks)
            await eventually(lambda: is_paused(pieces), what="a full pipe")
            raise WritError("the engine went away", code="unreachable")

    with pytest.raises(WritError, match="the engine went away"):
        await read()
    assert living(OPERATION) == []
    assert not await is_locked(locks)
    assert len(os.listdir("/proc/self/fd")) == before


async def is_paused(pieces: Any) -> bool:
    """Return whether asyncio reads no more from restic, since nobody reads from asyncio."""
    return bool(pieces.ag_frame.f_locals["output"]._paused)


async def is_locked(locks: Path) -> bool:
    """Return whether there is a whole lock, under its final name."""
    return any("-tmp-" not in lock.name for lock in locks.iterdir())


GONE = {"hostname": os.uname().nodename, "uid": os.getuid(), "pid": 2**31 - 1}


@pytest.mark.parametrize(
    ("locks", "is_removed"),
    [
        ([GONE], True),
        ([GONE, GONE], True),
        ([GONE | {"pid": os.getpid()}], False),
        ([GONE | {"uid": os.getuid() + 1}], False),
        ([GONE | {"hostname": "elsewhere"}], False),
        ([GONE, GONE | {"uid": os.getuid() + 1}], False),
        ([{}], False),
    ],
    ids=["gone", "two-gone", "alive", "other-user", "other-host", "gone-and-other-user", "unreadable"],
)
async def test_locks_are_removed_only_if_processes_of_this_user_that_are_gone_left_all(
    monkeypatch: pytest.MonkeyPatch, locks: list[dict[str, object]], is_removed: bool
) -> None:
    """`restic unlock` as another user than root removes the lock of a prune of root that goes on."""
    repository = Repository(BackupRepository(repository="/r", password_file="/p"), encode_id(b"x" * 16))
    left, ran = dict(enumerate(locks)), list[str]()

    async def ended(words: Sequence[str]) -> bytes:
        ran.append(words[0])
        match list(words):
            case ["list", "locks", *_]:
                return "".join(f"{number}\n" for number in left).encode()
            case ["cat", "lock", "--no-lock", number]:
                return json.encode(left[int(number)])
            case ["unlock"]:
                left.clear()
        if left:
            raise WritError("another program holds the lock", code=BUSY)
        return b""

    monkeypatch.setattr(repository, "_ended", ended)
    part = BackupPart(
        reference="r",
        backup_id="b",
        operation_id="o",
        container="db",
        path="/data",
        number=1,
        of=1,
        created_at=0.0,
        size=None,
    )
    if is_removed:
        await repository.forget([part])
        assert ran[-2:] == ["unlock", "forget"]
    else:
        with pytest.raises(WritError, match="holds the lock"):
            await repository.forget([part])
        assert "unlock" not in ran
