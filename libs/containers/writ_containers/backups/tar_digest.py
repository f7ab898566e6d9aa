"""A digest of a tar stream by its content: names, kinds, modes, owners, sizes, links and bytes, in any order."""

import asyncio
import hashlib
import os
import tarfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

PIECE = 1024 * 1024


async def digest_of(stream: AsyncIterator[bytes]) -> str:
    digest = TarDigest()
    try:
        async for piece in stream:
            await digest.feed(piece)
    except BaseException:
        await digest.end()
        raise
    return await digest.end()


class TarDigest:
    """Fed with the stream piece by piece; a thread of its own reads it, since tarfile reads from files."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self._write: int | None = write
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="tar-digest")
        self._digest = self._pool.submit(_read, os.fdopen(read, "rb"))

    async def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._write is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, _write_all, self._write, piece)

    async def end(self) -> str:
        """Return the digest; empty where the stream was no tar."""
        if self._write is not None:
            os.close(self._write)
            self._write = None
        try:
            return await asyncio.wrap_future(self._digest)
        finally:
            self._pool.shutdown(wait=False)


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _read(file: BinaryIO) -> str:
    with file:
        try:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                lines: list[str] | None = [_line(tar, member) for member in tar]
        except tarfile.TarError:
            lines = None
        while file.read(PIECE):  # the padding: the writer would wait without end
            continue
    if lines is None:
        return ""
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _line(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = hashlib.sha256()
    if member.isreg() and (file := tar.extractfile(member)) is not None:
        while piece := file.read(PIECE):
            content.update(piece)
    fields = (member.type, member.mode, member.uid, member.gid, member.size, member.linkname)
    return repr((member.name, *fields, content.hexdigest()))
