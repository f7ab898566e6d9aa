"""Long texts of results in memory that a child shares with its parent."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from writ_hostops.encoded_text import EncodedText
from writ_hostops.supervised import frames, shared_text
from writ_hostops.supervised.frames import MOST_SHARED
from writ_hostops.supervised.shared_text import LEAST_SHARED

KINDS = frames.RESULT + frames.SHARED


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("sizes", [(LEAST_SHARED,), (MOST_SHARED,), (LEAST_SHARED // 2, LEAST_SHARED // 2)])
def test_shared_result_is_the_one_that_was_packed(pipe: tuple[int, int], sizes: tuple[int, ...]) -> None:
    texts = {str(number): EncodedText(os.urandom(size // 2).hex().encode()) for number, size in enumerate(sizes)}
    parts = frames.parts(frames.RESULT, {"tag": 1, "output": texts})
    with closing(shared_text.make()) as memory:
        sent = b"".join(shared_text.shared(memory, parts))
        assert len(sent) < LEAST_SHARED
        os.write(pipe[1], sent)
        relayed = frames.Relay(KINDS).read(pipe[0])
        assert relayed is not None
        [(kind, frame)] = relayed
        assert kind == frames.SHARED
        found = shared_text.parts_of(memory, frame)
        assert b"".join(found) == b"".join(parts)
        for part in found:
            if isinstance(part, memoryview):
                part.release()


@pytest.mark.parametrize("size", [0, 1, LEAST_SHARED - 1, MOST_SHARED + 1])
def test_short_and_very_long_texts_go_through_the_pipe(size: int) -> None:
    parts = frames.parts(frames.RESULT, {"tag": 1, "output": {"text": EncodedText(b"x" * size)}})
    with closing(shared_text.make()) as memory:
        assert shared_text.shared(memory, parts) == parts


def test_more_shared_bytes_than_there_are_break_the_frame(pipe: tuple[int, int]) -> None:
    """So does all that follows: the process is ended meanwhile."""
    relay = frames.Relay(KINDS)
    for data in (frames.HEADER.pack(frames.SHARED, 2, MOST_SHARED + 1) + b"{}", frames.pack(frames.RESULT, {"tag": 1})):
        os.write(pipe[1], data)
        with pytest.raises(frames.BrokenFrame):
            relay.read(pipe[0])


def test_client_cannot_send_a_shared_frame() -> None:
    """The kinds of the other end of the connection have none."""
    requests = frames.REQUEST + frames.SETTLE + frames.STOP + frames.PING
    with pytest.raises(frames.BrokenFrame):
        list(frames.Cutter(requests).feed(frames.HEADER.pack(frames.SHARED, 2, 0) + b"{}"))
