"""The spool survives crashes, moves damaged files aside, and refuses a second process."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from writ_agent.reporting import spool as module
from writ_agent.reporting.spool import ClaimSent, Entry, Intent, Parcel, Spool
from writ_contracts.errors import Conflict

SECRET = b"k" * 32
CLAIM_SENT = ClaimSent(operation_id="a", attempt=1, principal="alice", instance="i")
INTENT = Intent(operation_id="a", attempt=1, principal="alice", instance="i", operation="test_count", grant_digest="0")
PARCEL = Parcel(subject="writ.receipt.p", body=b"the receipt with a planted-secret")


async def test_the_last_message_of_each_key_is_restored(tmp_path: Path) -> None:
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("a", CLAIM_SENT)
        await spool.put("a", INTENT)
        await spool.put("b", PARCEL, durable=False)
        await spool.put("c", PARCEL)
        spool.clear("c")
    with Spool(tmp_path, SECRET) as spool:
        assert dict(spool.live) == {"a": INTENT, "b": PARCEL}


async def test_begun_operation_stays_in_the_spool_after_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("asked.1", CLAIM_SENT)
        for number in range(4):
            await spool.put(f"{number}.1", INTENT)
            await spool.put(f"{number}.1", PARCEL)
            spool.clear(f"{number}.1")
    for _ in range(2):  # it is read, and written again, each time
        with Spool(tmp_path, SECRET) as spool:
            assert list(spool.begun) == ["1.1", "2.1", "3.1"]
            assert dict(spool.live) == {"asked.1": CLAIM_SENT}


async def test_messages_do_not_lie_on_the_disk_in_the_clear(tmp_path: Path) -> None:
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("b", PARCEL)
    assert all(b"planted-secret" not in path.read_bytes() for path in tmp_path.iterdir())
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o600


async def test_many_who_wait_share_few_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(file: int) -> None:
        nonlocal syncs
        syncs += 1
        real(file)

    monkeypatch.setattr(os, "fdatasync", counted)
    with Spool(tmp_path, SECRET) as spool:
        await asyncio.gather(*(spool.put(f"k{number}", INTENT) for number in range(100)))
        assert len(spool.live) == 100
    assert 1 <= syncs <= 3


async def test_spool_ignores_a_line_cut_by_a_crash(tmp_path: Path) -> None:
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("a", INTENT)
        await spool.put("b", INTENT)
    path = tmp_path / "spool"
    path.write_bytes(path.read_bytes()[:-20])
    with Spool(tmp_path, SECRET) as spool:
        assert list(spool.live) == ["a"]
    assert not list(tmp_path.glob("corrupt-*"))


async def test_a_damaged_line_is_moved_aside_loudly_and_the_others_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("a", INTENT)
        await spool.put("b", INTENT)
    path = tmp_path / "spool"
    damaged = bytearray(path.read_bytes())
    damaged[30] ^= 1
    path.write_bytes(bytes(damaged))
    with Spool(tmp_path, SECRET) as spool:
        assert list(spool.live) == ["b"]
    (aside,) = tmp_path.glob("corrupt-*")
    assert aside.read_bytes() == bytes(damaged)
    assert "spool.corrupt" in caplog.text
    with Spool(tmp_path, SECRET) as spool:
        assert list(spool.live) == ["b"]
    assert len(list(tmp_path.glob("corrupt-*"))) == 1


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_no_bytes_whatever_keep_an_agent_from_starting(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "spool").write_bytes(data)
        with Spool(Path(folder), SECRET) as spool:
            assert dict(spool.live) == {}


async def test_another_process_cannot_have_the_same_folder(tmp_path: Path) -> None:
    imports = "from pathlib import Path; from writ_agent.reporting.spool import Spool"
    code = f"{imports}; Spool(Path({str(tmp_path)!r}), b'k' * 32)"
    with Spool(tmp_path, SECRET):
        with pytest.raises(Conflict, match=f"in use by another agent \\(process {os.getpid()}\\)"):
            Spool(tmp_path, SECRET)
        ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True)
        assert b"in use by another agent" in ended.stderr
    Spool(tmp_path, SECRET).close()


async def test_a_full_disk_refuses_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("a", INTENT)
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda file, data: real(file, bytes(data)[: len(data) // 2]))
            with pytest.raises(OSError, match="the disk is full"):
                await spool.put("b", INTENT)
        assert list(spool.live) == ["a"]
        await spool.put("c", INTENT)
    with Spool(tmp_path, SECRET) as spool:
        assert list(spool.live) == ["a", "c"]


async def test_after_a_failed_sync_the_spool_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    with Spool(tmp_path, SECRET) as spool:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", broken)
            with pytest.raises(OSError, match="Input/output"):
                await spool.put("a", INTENT)
        assert spool.live == {}
        assert spool.problem is not None
        with pytest.raises(OSError, match="failed"):
            await spool.put("b", INTENT)


async def test_spool_does_not_grow_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REWRITE_BYTES", 10_000)
    kept: dict[str, Entry] = {"stays": INTENT}
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("stays", INTENT)
        for number in range(500):
            await spool.put(f"k{number}", PARCEL, durable=False)
            spool.clear(f"k{number}")
        assert dict(spool.live) == kept
        assert (tmp_path / "spool").stat().st_size < 12_000
    with Spool(tmp_path, SECRET) as spool:
        assert dict(spool.live) == kept


async def test_a_spool_without_messages_is_read_by_a_process_with_another_key(tmp_path: Path) -> None:
    with Spool(tmp_path, SECRET) as spool:
        await spool.put("a", INTENT)
        await spool.put("b", PARCEL)
        spool.clear("b")
    with Spool(tmp_path, b"n" * 32) as spool:
        assert dict(spool.live) == {"a": INTENT}
    assert list(tmp_path.glob("corrupt-*")) == []
