"""The restic repository of a target: one snapshot for each volume, a tar file, found again by exact tags.

Tags are `writ-container-backup`, `writ-id`, `writ-op` (the operation), `writ-container`, `writ-path` and `writ-part`
(`2/3`): a backup with fewer parts than it has is none. The backups of hosts have other tags, and neither kind sees the
other. Repository and password reach restic by its environment, never by an argument.
"""

import asyncio
import errno
import json
import os
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from writ_agent.backends.processes import end, marked_environ
from writ_bus.tasks import start
from writ_containers.engine.connection import host_engine
from writ_contracts.backends import SSH
from writ_contracts.errors import Invalid, Unreachable, WritError
from writ_contracts.inventory import BackupRepository, Target
from writ_hostops.backups.left_locks import is_left

TAG = "writ-container-backup"
CHUNK = 256 * 1024
MOST_ERRORS = 8 * 1024
UNLOCK_SECONDS, KILL_SECONDS = 0.3, 1.0
"""For restic to remove its lock after a SIGTERM, with its input still open; and to end after a SIGKILL."""
BUSY, NO_SPACE = "busy", "no_space"
CODES = {
    10: ("unavailable", "there is no restic repository where the target declares one: restic init"),
    11: (BUSY, "another program holds the lock of the backup repository"),
    12: ("permission_denied", "the declared password is not that of the backup repository"),
}


class BackupPart(Struct, frozen=True, kw_only=True):
    """One volume in the repository. `reference` is restic's whole id; `path`: where the container has the volume."""

    reference: str
    backup_id: str
    operation_id: str
    container: str
    path: str
    number: int
    of: int
    created_at: float
    size: int | None


class Repository:
    """A restic repository. `operation_id` marks its processes, so a stop finds all of them."""

    def __init__(self, backup: BackupRepository, operation_id: str) -> None:
        self._backup = backup
        self._operation_id = operation_id
        self.host = backup.host or os.uname().nodename

    async def parts(self) -> list[BackupPart]:
        """Return the parts of all backups of this host, oldest first. Takes no lock. Raises WritError."""
        words = ["snapshots", "--no-lock", f"--host={self.host}", f"--tag={TAG}"]
        out = await self._ended(words)
        return sorted((_part(one) for one in _items(out)), key=lambda one: (one.created_at, one.number))

    async def store(self, tags: Mapping[str, str], name: str, stream: AsyncIterator[bytes], *, full: bool) -> None:
        """Store one file. A broken stream leaves no snapshot: restic ends before its input."""
        options = [f"--tag={tag}={quote(value, safe='/')}" for tag, value in tags.items()]
        words = ["backup", "--stdin", f"--stdin-filename={name}", f"--host={self.host}", f"--tag={TAG}", *options]
        async with self._running([*words, *(["--force"] if full else [])], stdin=True) as process:
            if process.stdin is None:
                return
            try:
                async for piece in stream:
                    process.stdin.write(piece)
                    await process.stdin.drain()
            except ConnectionError:
                return  # restic has ended; its status says why
            process.stdin.close()
            await _all(process)

    @asynccontextmanager
    async def dump(self, part: BackupPart) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the pieces of a part's file. restic has ended when the block has. Raises WritError where restic finds
        the file damaged, and where the block did not read it to its end.

        Without room for restic's lock it is read without one: restic ends before its first byte, and is started again.
        """
        words = [part.reference, f"/{file_name(part.number)}"]
        async with AsyncExitStack() as stack:
            try:
                output = await stack.enter_async_context(self._output(["dump", *words]))
                first = await output.read(CHUNK)
                if not first:
                    await stack.aclose()
            except WritError as error:
                if error.code != NO_SPACE:
                    raise
                output = await stack.enter_async_context(self._output(["dump", "--no-lock", *words]))
                first = await output.read(CHUNK)
            yield _pieces(first, output)
            if not output.at_eof():
                raise WritError("not all of the backup was read", code="not_read")

    async def forget(self, parts: Sequence[BackupPart]) -> None:
        """Remove these parts; their data stays until somebody prunes. Raises WritError.

        A restic that was killed, as for a cancel, leaves its lock, which forbids this. It is removed if there is no
        other lock.
        """
        if not parts:
            return
        words = ["forget", *(part.reference for part in parts)]
        try:
            await self._ended(words)
        except WritError as error:
            if error.code != BUSY or not await self._has_only_left_locks():
                raise
            await self._ended(["unlock"])
            await self._ended(words)

    async def _has_only_left_locks(self) -> bool:
        """Return whether processes of this user on this host, which are gone, left all locks."""
        try:
            names = (await self._ended(["list", "locks", "--no-lock"])).decode().split()
            locks = [(await self._ended(["cat", "lock", "--no-lock", name])).decode() for name in names]
        except (WritError, ValueError):  # one was removed meanwhile, say
            return False
        return all(is_left(lock) for lock in locks)

    async def _ended(self, words: Sequence[str]) -> bytes:
        async with self._running(words) as process:
            return await _all(process)

    @asynccontextmanager
    async def _output(self, words: Sequence[str]) -> AsyncIterator[asyncio.StreamReader]:
        async with self._running(words) as process:
            if process.stdout is None:
                raise RuntimeError("restic was started without its output")
            yield process.stdout

    @asynccontextmanager
    async def _running(self, words: Sequence[str], *, stdin: bool = False) -> AsyncIterator[Process]:
        """Yield a running restic. It has ended well after the block, and is ended where the block ends by an error: by
        a signal that lets it remove its lock, which would forbid a prune on another host.
        """
        with tempfile.TemporaryDirectory(prefix="writ-restic-") as home:
            environment = {
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": home,
                "RESTIC_REPOSITORY": self._backup.repository,
                "RESTIC_PASSWORD_FILE": self._backup.password_file,
            }
            process = await self._start(words, environment, stdin)
            errors = start(_errors(process), "restic errors")
            try:
                yield process
                status = await process.wait()
            except BaseException:
                discarded = start(_discarded(process), "rest of restic's output")
                try:
                    await end(self._operation_id, UNLOCK_SECONDS, KILL_SECONDS)
                finally:
                    with suppress(ProcessLookupError):
                        process.kill()
                await process.wait()
                await discarded
                raise
            finally:
                text = await errors
            _refuse(status, text)

    async def _start(self, words: Sequence[str], environment: dict[str, str], stdin: bool) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *("restic", "--json", "--no-cache", "--quiet", *words),
                stdin=PIPE if stdin else DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                cwd="/",
                env=marked_environ(self._operation_id, environment),
            )
        except OSError as error:
            message = f"restic can't be started where the agent runs: {error.strerror}"
            raise Unreachable(message, code="tool_missing") from error


def repository_of(target: Target, operation_id: str) -> Repository:
    """Return the repository declared by a target. Raises Invalid (`not_declared`, `unavailable`)."""
    backup = _declared(target)
    if not Path(backup.password_file).is_file():
        raise Invalid(
            "the password_file that the target declares does not exist on the agent's host", code="unavailable"
        )
    return Repository(backup, operation_id)


def _declared(target: Target) -> BackupRepository:
    """`backup` of a host over SSH is for restic on that host; restic of its containers runs where the agent runs."""
    if target.backend == SSH:
        backup = host_engine(target).backup
        if backup is None:
            message = f"target {target.id} declares no backup repository for its containers: give it"
            raise Invalid(f"{message} docker: {{backup: {{repository, password_file}}}}", code="not_declared")
        return msgspec.structs.replace(backup, host=backup.host or target.id)
    if not target.backup:
        raise Invalid(f"target {target.id} declares no backup repository", code="not_declared")
    return msgspec.convert(target.backup, BackupRepository)


def file_name(number: int) -> str:
    """Return the name of a part's file in the repository."""
    return f"volume-{number}.tar"


def complete(parts: Sequence[BackupPart]) -> bool:
    """Return whether these parts of one backup are all of it."""
    return bool(parts) and {one.number for one in parts} == set(range(1, parts[0].of + 1))


async def _pieces(first: bytes, output: asyncio.StreamReader) -> AsyncIterator[bytes]:
    piece = first
    while piece:
        yield piece
        piece = await output.read(CHUNK)


async def _all(process: Process) -> bytes:
    return b"" if process.stdout is None else await process.stdout.read()


async def _discarded(process: Process) -> None:
    """Read the rest of the output. A restic that waits for its reader does not end at a SIGTERM, and asyncio keeps a
    pipe open that nobody reads to its end.
    """
    while process.stdout is not None and await process.stdout.read(CHUNK):
        pass


async def _errors(process: Process) -> str:
    kept = b""
    while process.stderr is not None and (piece := await process.stderr.read(CHUNK)):
        kept = (kept + piece)[-MOST_ERRORS:]
    return kept.decode(errors="replace")


def _refuse(status: int, text: str) -> None:
    """restic's own words may hold the address of the repository, so they are not passed on."""
    if status == 0:
        return
    if status == 1 and "repository is already locked" in text:
        status = 11
    code, message = CODES.get(status, ("tool_failed", f"restic failed (exit status {status})"))
    if code == "tool_failed" and os.strerror(errno.ENOSPC).lower() in text:
        code, message = NO_SPACE, "restic found no room where it writes: the repository's disk, or the one of /tmp"
    raise WritError(message, code=code)


def _items(out: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(out or b"[]")
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise WritError("restic's output cannot be parsed", code="garbled")
    return found


def _part(item: Mapping[str, Any]) -> BackupPart:
    try:
        tags = {name: unquote(value) for name, _, value in (str(tag).partition("=") for tag in item["tags"])}
        number, _, of = tags["writ-part"].partition("/")
        return BackupPart(
            reference=str(item["id"]),
            backup_id=tags["writ-id"],
            operation_id=tags["writ-op"],
            container=tags["writ-container"],
            path=tags["writ-path"],
            number=int(number),
            of=int(of),
            created_at=datetime.fromisoformat(str(item["time"])).timestamp(),
            size=(item.get("summary") or {}).get("total_bytes_processed"),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise WritError("restic's list has a snapshot that cannot be parsed", code="garbled") from error
