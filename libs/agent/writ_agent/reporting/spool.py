"""The crash-safe memory of an agent: begun operations, and messages without an acknowledgement.

One append-only file; the last line of a key holds. Begun operations are remembered after their end, too. `put` returns
when the disk has the line, and concurrent callers share one fdatasync. Messages are encrypted, since they hold full
outputs.
"""

import asyncio
import fcntl
import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from writ_bus import tasks
from writ_contracts.errors import Conflict, Untrusted
from writ_contracts.signing import Signed
from writ_documents.atomic_files import sync_folder, write_atomically
from writ_runtime.logs import Log
from writ_trust.sealing import decrypt, encrypt

REWRITE_BYTES = 4 * 1024 * 1024
REMEMBERED, REMEMBERED_BYTES = 10_000, 100
"""Remembered begun operations, the latest ones, and the bytes of each in the file."""
_log = Log("writ.agent.spool")


class ClaimSent(Struct, frozen=True, kw_only=True, tag="asked"):
    """A claim was sent, and nothing has begun: without an Intent in its place, nothing ever did."""

    operation_id: str
    attempt: int
    principal: str
    instance: str
    claim_digest: str | None = None
    key: str = ""
    """The public key of the claim; "" of one by an earlier release. Only this key may report on it."""


class Intent(Struct, frozen=True, kw_only=True, tag="intent"):
    """From here on the operation may take effect. It holds no parameters: they may be secret."""

    operation_id: str
    attempt: int
    principal: str
    instance: str
    operation: str
    grant_digest: str
    grant: Signed | None = None
    key: str = ""
    """The public key of the claim, as above."""


class Parcel(Struct, frozen=True, kw_only=True, tag="parcel"):
    """A message to be sent to `subject` until it is acknowledged."""

    subject: str
    body: bytes


Entry = ClaimSent | Intent | Parcel


class _ClearedEntry(Struct, frozen=True, kw_only=True, tag="cleared"):
    """No entry under this key any more."""


class _BegunEntry(Struct, frozen=True, kw_only=True, tag="begun"):
    """An operation began under this key, and nothing else of it is kept."""


class _Line(Struct, frozen=True, kw_only=True):
    key: str
    entry: Entry | _ClearedEntry | _BegunEntry


_decoder = msgspec.json.Decoder(_Line)
_encoder = msgspec.json.Encoder()


class Spool:
    """Entries by key. A spool locks the folder for this process alone."""

    def __init__(self, folder: Path, secret: bytes) -> None:
        """`secret`: the key of 32 bytes which encrypts the messages. Raises Conflict if another process has the
        folder.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        self._secret = secret
        self._lock = _take(folder / "lock")
        self._path = folder / "spool"
        self._begun: OrderedDict[str, None] = OrderedDict()
        self._live: dict[str, Entry] = self._load()
        self._file = -1
        self._size = 0
        self._written = self._synced = 0
        self._syncing: asyncio.Task[None] | None = None
        self.problem: str | None = None
        self._rewrite()

    @property
    def live(self) -> Mapping[str, Entry]:
        """Return the entries kept now."""
        return self._live

    @property
    def begun(self) -> Collection[str]:
        """Return the keys of begun operations, of this process or an earlier one; the latest ones."""
        return self._begun.keys()

    async def put(self, key: str, entry: Entry, *, durable: bool = True) -> None:
        """Keep the entry in place of an earlier one under `key`. Raises OSError, and then it is not kept.

        Without `durable` it survives the end of this process, but not a power cut.
        """
        self._append(self._encode(key, entry))
        before = self._live.get(key)
        self._live[key] = entry
        self._note(key, entry)
        try:
            if durable:
                await self._sync()
        except OSError:
            self._restore(key, before)
            raise

    def clear(self, key: str) -> None:
        """Forget the entry. If a crash loses this, its message is sent or settled again."""
        if self._live.pop(key, None) is not None and self.problem is None:
            try:
                self._append(self._encode(key, _ClearedEntry()))
            except OSError as error:
                _log.warning("spool.clear_failed", error=str(error))

    def set_aside(self, key: str) -> None:
        """Move an entry no executor will ever accept out of the way, for a person to read."""
        entry = self._live.get(key)
        if entry is not None:
            path = self._folder / f"rejected-{time.time_ns()}"
            write_atomically(path, self._encode(key, entry))
            _log.error("spool.set_aside", key=key, path=str(path))
            self.clear(key)

    def close(self) -> None:
        """Unlock the folder. Without messages the file is left without former ones: another key could not read them."""
        if self.problem is None and not any(isinstance(entry, Parcel) for entry in self._live.values()):
            self._rewrite()
        os.close(self._file)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        if self.problem is not None:
            raise OSError(self.problem)
        if self._size > REWRITE_BYTES and self._syncing is None and self._mostly_dead():
            self._rewrite()
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written: the disk is full")
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        self._written += 1

    async def _sync(self) -> None:
        target_line = self._written
        while self._synced < target_line:
            if self._syncing is None:
                self._syncing = tasks.start(self._fdatasync(), "spool sync")
            await asyncio.shield(self._syncing)

    async def _fdatasync(self) -> None:
        upto = self._written
        try:
            await asyncio.to_thread(os.fdatasync, self._file)
            self._synced = upto
        except OSError as error:
            # After a failed sync the kernel forgets which pages were dirty: a second try would lie.
            self.problem = f"the disk of {self._folder} failed: {error}"
            raise
        finally:
            self._syncing = None

    def _restore(self, key: str, entry: Entry | None) -> None:
        if entry is None:
            self._live.pop(key, None)
        else:
            self._live[key] = entry

    def _note(self, key: str, entry: Entry | _BegunEntry) -> None:
        if isinstance(entry, Intent | _BegunEntry):
            self._begun[key] = None
            if len(self._begun) > REMEMBERED:
                self._begun.popitem(last=False)

    def _mostly_dead(self) -> bool:
        alive = REMEMBERED_BYTES * len(self._begun)
        alive += sum(len(entry.body) if isinstance(entry, Parcel) else 500 for entry in self._live.values())
        return self._size > 3 * alive

    def _rewrite(self) -> None:
        begun = [(key, _BegunEntry()) for key in self._begun if not isinstance(self._live.get(key), Intent)]
        lines = b"".join(self._encode(key, entry) for key, entry in [*begun, *self._live.items()])
        write_atomically(self._path, lines)
        sync_folder(self._folder)
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = len(lines)
        self._synced = self._written

    def _load(self) -> dict[str, Entry]:
        if not self._path.exists():
            return {}
        data = self._path.read_bytes()
        *whole, torn = data.split(b"\n")
        if torn:
            _log.info("spool.torn_line", bytes=len(torn))  # it was being written when the process ended: not kept
        lines = [self._decode(line) for line in whole]
        if None in lines:
            path = self._folder / f"corrupt-{time.time_ns()}"
            write_atomically(path, data)
            _log.error("spool.corrupt", bad_lines=lines.count(None), path=str(path))
        live: dict[str, Entry] = {}
        for line in lines:
            match line:
                case _Line(key=key, entry=_ClearedEntry()):
                    live.pop(key, None)
                case _Line(key=key, entry=_BegunEntry() as entry):
                    self._note(key, entry)
                case _Line(key=key, entry=ClaimSent() | Intent() | Parcel() as entry):
                    live[key] = entry
                    self._note(key, entry)
        return live

    def _encode(self, key: str, entry: Entry | _ClearedEntry | _BegunEntry) -> bytes:
        hidden = encrypt(self._secret, entry.body) if isinstance(entry, Parcel) else b""
        kept = msgspec.structs.replace(entry, body=hidden) if isinstance(entry, Parcel) else entry
        body = _encoder.encode(_Line(key=key, entry=kept))
        return b"%08x %b\n" % (zlib.crc32(body), body)

    def _decode(self, line: bytes) -> _Line | None:
        try:
            if int(line[:8], 16) != zlib.crc32(line[9:]):
                return None
            read = _decoder.decode(line[9:])
            if isinstance(read.entry, Parcel):
                entry = msgspec.structs.replace(read.entry, body=decrypt(self._secret, read.entry.body))
                return _Line(key=read.key, entry=entry)
        except (ValueError, Untrusted, msgspec.DecodeError):
            return None
        return read


def _take(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 20, 0).decode(errors="replace")
        os.close(lock)
        raise Conflict(f"the state folder {path.parent} is in use by another agent (process {owner})") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
