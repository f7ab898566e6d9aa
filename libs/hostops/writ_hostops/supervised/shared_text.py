"""Memory that a child shares with its parent for the long texts of its results, which thus do not pass a pipe.

The child puts the texts into it and sends a SHARED frame; the parent sends the texts from there to the other end of the
connection. Until they are all sent, the child must not get another request.
"""

from __future__ import annotations

import mmap
from typing import List

from writ_hostops.encoded_text import Buffer
from writ_hostops.supervised import frames

LEAST_SHARED = 64 * 1024
"""Fewer bytes fit into a pipe."""


def make() -> mmap.mmap:
    """Return new memory, which the next fork shares. It has pages only where it was used. Raises OSError."""
    return mmap.mmap(-1, frames.MOST_SHARED)


def keep_from_others(memory: mmap.mmap) -> None:
    """Keep it from the children that are forked later."""
    memory.madvise(mmap.MADV_DONTFORK)


def shared(memory: mmap.mmap, parts: List[Buffer]) -> List[Buffer]:
    """Return the parts of a RESULT frame as they go through the pipe: long texts go into the memory."""
    head, *texts = parts
    size = sum(map(len, texts))
    if not LEAST_SHARED <= size <= len(memory):
        return parts
    place = 0
    for text in texts:
        memory[place : place + len(text)] = text
        place += len(text)
    return [frames.SHARED + bytes(head)[1:]]


def parts_of(memory: mmap.mmap, frame: Buffer) -> List[Buffer]:
    """Return the parts of the RESULT frame that a relayed SHARED frame stands for."""
    _, _, size = frames.HEADER.unpack_from(frame)
    return [frames.RESULT + bytes(frame)[1:], memoryview(memory)[:size]]
