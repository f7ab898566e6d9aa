"""Hostile frames are refused in bounded time and memory; our own frames come back unchanged."""

import hashlib
import json
import os
import random
import select
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_hostops.encoded_text import EncodedText, TextDigest
from writ_hostops.errors import HostError
from writ_hostops.markers import Markers
from writ_hostops.protocol import parse_line, parse_request
from writ_hostops.supervised import frames
from writ_testing.each_case import each_case
from writ_testing.exhaustive import time_for
from writ_testing.stopwatch import stopwatch

KINDS = frames.HELLO + frames.PROGRESS + frames.RESULT + frames.LOG
MB = 1024 * 1024


def framed(head: bytes, attached: bytes = b"", kind: bytes = frames.RESULT) -> bytes:
    return frames.HEADER.pack(kind, len(head), len(attached)) + head + attached


def attaching(*entries: Any, attached: bytes = b"", **more: Any) -> bytes:
    return framed(json.dumps({"tag": 1, "attached": list(entries), **more}).encode(), attached)


def read(data: bytes, kinds: bytes = KINDS) -> list[dict[str, Any]]:
    return [frame.message() for frame in frames.Cutter(kinds).feed(data)]


REFUSED = {
    "a negative length": attaching(["output", "a", 4], ["output", "b", -4], ["output", "c", 4], attached=b"abcd"),
    "a length beyond the end": attaching(["output", "a", 5], attached=b"abcd"),
    "less than is attached": attaching(["output", "a", 3], attached=b"abcd"),
    "attached, and not named": framed(b'{"tag":1}', b"abcd"),
    "a length that is true": attaching(["output", "a", True], attached=b"a"),
    "a length with a point": attaching(["output", "a", 1.0], attached=b"a"),
    "a name that is none": attaching(["output", 1, 1], attached=b"a"),
    "another place": attaching(["state", "a", 1], attached=b"a"),
    "a place that is no text": attaching([["output"], "a", 1], attached=b"a"),
    "a place that is taken by no object": attaching(["output", "a", 1], attached=b"a", output=[]),
    "a name twice": attaching(["output", "a", 1], ["output", "a", 1], attached=b"ab"),
    "a name that is there": attaching(["output", "a", 1], attached=b"a", output={"a": "b"}),
    "a digest without a name": attaching(["output", "a", 1, 1], attached=b"a"),
    "two digests": attaching(["output", "a", 1, "b", "c"], attached=b"a"),
    "a digest that is there": attaching(["output", "a", 1, "b"], attached=b"a", output={"b": ""}),
    "a digest in place of its text": attaching(["output", "a", 1, "a"], attached=b"a"),
    "two words": attaching(["output", "a"], attached=b""),
    "an object for a list": framed(b'{"tag":1,"attached":{}}'),
    "many": attaching(*(["output", str(number), 0] for number in range(1000))),
    "attached bytes that are no text": attaching(["output", "a", 1], attached=b"\xff"),
    "half a character": framed(b'{"tag":1,"message":"\\ud800"}'),
    "half a character in a name": framed(b'{"tag":1,"\\udfff":1}'),
    "half a character in its bytes": framed(b'{"tag":1,"message":"\xed\xa0\x80"}'),
    "another encoding": framed('{"tag":1}'.encode("utf-16")),
    "no number": framed(b'{"tag":NaN}'),
    "an infinite number": framed(b'{"tag":1e999}'),
    "a number of 70 bits": framed(b'{"tag":1180591620717411303424}'),
    "a number of a million digits": framed(b'{"tag":' + b"1" * MB + b"}"),
    "nested 900 deep": framed(b'{"a":' * 900 + b"1" + b"}" * 900),
    "nested a million deep": framed(b"[" * MB),
    "a list": framed(b"[]"),
    "no JSON": framed(b"{{{"),
    "a million values": framed(b"[" + b"{}," * (MB) + b"{}]"),
    "a head of 5 MB": framed(b'{"a":"' + b"x" * (5 * MB) + b'"}'),
    "24 MB": framed(b"{}", bytes(24 * MB)),
    "a log of 8 MB": framed(json.dumps({"tag": 1, "message": "x" * 8 * MB}).encode(), kind=frames.LOG),
    "progress of 1 MB": framed(json.dumps({"tag": 1, "message": "x" * MB}).encode(), kind=frames.PROGRESS),
    "a kind of the other end": framed(b"{}", kind=frames.REQUEST),
}


def test_reader_computes_the_digest_of_a_text() -> None:
    text = EncodedText("é".encode() * 5)
    packed = frames.pack(frames.RESULT, {"tag": 1, "output": {"a": text, "digest": TextDigest(text), "size": 10}})
    [message] = read(packed)
    sha256 = hashlib.sha256("é".encode() * 5).hexdigest()
    assert message["output"] == {"a": "ééééé", "digest": sha256, "size": 10}
    assert message[frames.COMPUTED] == {"a": sha256}
    assert sha256.encode() not in packed


def test_digests_that_the_sender_wrote_are_dropped() -> None:
    [message] = read(framed(json.dumps({"tag": 1, frames.COMPUTED: {"a": "0" * 64}}).encode()))
    assert message == {"tag": 1}


@each_case("what", REFUSED)
def test_a_hostile_frame_is_refused_at_once_and_takes_little_memory(what: str) -> None:
    tracemalloc.start()
    try:
        with stopwatch() as seconds, pytest.raises(frames.BrokenFrame):
            read(REFUSED[what])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds() < 5.0
    assert peak < 4 * len(REFUSED[what]) + 32 * MB


def test_a_hostile_frame_cannot_stand_for_more_than_its_own_bytes() -> None:
    """The frame has as many pairs of a forward and a backward length as fit, each of which would copy all of it."""
    pairs = [["output", f"{number}", length] for number in range(300) for length in (4 * MB, -4 * MB)]
    with pytest.raises(frames.BrokenFrame):
        read(attaching(*pairs, attached=bytes(4 * MB)))


texts = st.text(st.characters(), max_size=30) | st.text(st.characters(codec="utf-8"), min_size=4097, max_size=4100)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | texts, lambda one: st.lists(one, max_size=3) | st.dictionaries(texts, one, max_size=3), max_leaves=8
)
clean = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    st.lists(st.dictionaries(clean, st.text(st.characters(codec="utf-8"), max_size=5000), max_size=4), max_size=4),
    st.integers(1, 50),
)
def test_relayed_frames_are_those_that_came(texts_by_name: list[dict[str, str]], step: int) -> None:
    """Short and long ones follow each other, cut anywhere."""
    packed = [frames.pack(frames.RESULT, {"tag": 1, "output": output}) for output in texts_by_name]
    stream, relay = b"".join(packed), frames.Relay(KINDS)
    pieces, found = max(1, len(stream) // step), []
    out, into = os.pipe()
    try:
        for offset in range(0, len(stream), pieces):
            os.write(into, stream[offset : offset + pieces])
            while select.select([out], [], [], 0)[0]:
                complete = relay.read(out)
                assert complete is not None
                found += [(kind, bytes(data)) for kind, data in complete]
        os.close(into)
        assert relay.read(out) is None
    finally:
        os.close(out)
    assert found == [(frames.RESULT, data) for data in packed]


@pytest.mark.parametrize("data", [framed(b"{}", kind=b"x"), framed(b"{}", bytes(24 * MB))[:9], b"not a frame at all"])
def test_bytes_that_are_no_frame_are_not_relayed(data: bytes) -> None:
    out, into = os.pipe()
    os.write(into, data)
    os.close(into)
    with pytest.raises(frames.BrokenFrame):
        frames.Relay(KINDS).read(out)
    os.close(out)


def of_content(_: object) -> frozenset[str]:
    return frozenset({"content"})


@given(st.text(st.characters(codec="utf-8"), max_size=5000), st.text(max_size=5))
def test_encoded_text_travels_as_its_bytes(text: str, short: str) -> None:
    message = {
        "tag": 1,
        "output": {"content": EncodedText(text.encode()), "other": EncodedText(short.encode("utf-8", "replace"))},
    }
    (frame,) = frames.Cutter(KINDS).feed(frames.pack(frames.RESULT, message))
    encoded, plain = frame.message(of_content)["output"], frame.message()["output"]
    assert bytes(encoded["content"].data) == text.encode()
    assert plain == {"content": text, "other": short.encode("utf-8", "replace").decode()}
    assert encoded["other"] == plain["other"]


@pytest.mark.parametrize("other", ["", "x" * 5000])
def test_frame_that_is_read_has_the_digest_of_its_encoded_text(other: str) -> None:
    """`digest` of the frame is of all attached texts, and a text that is not alone has its own."""
    text = "é" * 20_000
    packed = frames.pack(frames.RESULT, {"tag": 1, "output": {"content": text, "other": other}})
    out, into = os.pipe()
    os.write(into, packed)
    frame = frames.read_frame(out, KINDS)
    os.close(out)
    os.close(into)
    assert frame is not None
    assert frame.digest == hashlib.sha256((text + other).encode()).hexdigest()
    content = frame.message(of_content)["output"]["content"]
    assert content.digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("more", [[], [["output", "other", 1]]])
def test_encoded_text_that_is_no_utf_8_is_refused(more: list[list[object]]) -> None:
    data = attaching(["output", "content", 2], *more, attached=b"\xc3\x28" + b"a" * len(more))
    (frame,) = frames.Cutter(KINDS).feed(data)
    with pytest.raises(frames.BrokenFrame):
        frame.message(of_content)


@given(st.dictionaries(clean, st.text(st.characters(codec="utf-8"), max_size=5000), max_size=4), st.integers(1, 50))
def test_packed_frame_comes_back_however_the_stream_is_cut(output: dict[str, str], step: int) -> None:
    message = {"tag": 1, "output": output}
    data, cutter, found = frames.pack(frames.RESULT, message), frames.Cutter(KINDS), []
    pieces = max(1, len(data) // step)
    for offset in range(0, len(data), pieces):
        found += list(cutter.feed(data[offset : offset + pieces]))
    assert [frame.message() for frame in found] == [message]


def test_early_frame_comes_with_its_json_and_names_the_bytes_that_are_missing() -> None:
    message = {"tag": 1, "parameters": {"content": "x" * 10_000}}
    data = frames.pack(frames.REQUEST, message)
    cutter = frames.Cutter(frames.REQUEST + frames.PING, early=frames.REQUEST)
    assert list(cutter.feed(data[:30])) == []
    (frame,) = cutter.feed(data[30:5000])
    assert frame.missing == len(data) - 5000
    assert frame.without_attached() == {"tag": 1, "parameters": {}}
    assert frame.raw() + data[5000:] == data
    (after,) = cutter.feed(frames.pack(frames.PING, {"tag": 2}))
    assert after.message() == {"tag": 2}


def test_frame_is_read_alone_and_a_cut_one_is_none(tmp_path: Path) -> None:
    message = {"tag": 1, "parameters": {"content": "é" * 5000}}
    data = frames.pack(frames.REQUEST, message)
    (tmp_path / "stream").write_bytes(2 * data + data[:-1])
    with (tmp_path / "stream").open("rb") as stream:
        found = [frames.read_frame(stream.fileno(), frames.REQUEST) for _ in range(3)]
    assert [frame and frame.message() for frame in found] == [message, message, None]
    with (tmp_path / "stream").open("rb") as stream, pytest.raises(frames.BrokenFrame):
        frames.read_frame(stream.fileno(), frames.SETTLE)


@given(values)
def test_any_result_of_a_handler_can_be_sent_and_read(value: Any) -> None:
    (message,) = read(frames.pack(frames.RESULT, {"tag": 1, "output": {"value": value}}))
    json.dumps(message).encode("utf-8")
    canonical = json.dumps(message, ensure_ascii=False).encode("utf-8")
    assert canonical


@pytest.mark.parametrize("text", ["x\ud800", "x" * 5000 + "\ud800"])
def test_a_request_with_half_a_surrogate_pair_is_refused_and_not_altered(text: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        frames.pack(frames.REQUEST, {"tag": 1, "parameters": {"file_path": text}})


SEEDS = [
    frames.pack(frames.RESULT, {"tag": 1, "outcome": "succeeded", "output": {"content": "x" * 5000, "size": 5000}}),
    frames.pack(frames.HELLO, {"boot_id": "b", "operations": ["file_read"], "uid": 0}),
    frames.pack(frames.LOG, {"tag": 1, "message": "é\n"}) + frames.pack(frames.PROGRESS, {"tag": 1, "message": "50 %"}),
]
REQUEST = {
    "id": "op-1", "action": "run", "operation": "file_read", "parameters": {"file_path": "/srv/a", "timeout": 5},
    "target": {"file_roots": [{"path": "/srv"}], "backup": {"repository": "/r", "password_file": "/p"}},
}  # fmt: skip


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Return the seed with a few bytes changed, removed, doubled or replaced by difficult ones."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randrange(1, 9)]
            case 2:
                data[at:at] = data[at : at + chance.randrange(1, 200)]
            case 3:
                data[at:at] = chance.choice(
                    [b"[" * 50, b'"', b"\\ud800", b"-1", b"1e999", b"NaN", b"\xff", b"\0", b"{}"]
                )
            case _:
                data[at : at + 4] = chance.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
    return bytes(data)


def read_frames(data: bytes) -> None:
    try:
        for kinds in (KINDS, frames.REQUEST + frames.SETTLE + frames.STOP + frames.PING):
            for message in read(data, kinds):
                json.dumps(message, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except frames.BrokenFrame:
        return


def read_request(data: bytes) -> None:
    with suppress(HostError):
        parse_request(parse_line(data))


def marker_reader(folder: Path) -> Callable[[bytes], None]:
    markers = Markers(str(folder))
    markers.begin("op-1", 1, "file_write", {})

    def read_marker(data: bytes) -> None:
        (folder / "op-1.1.begun").write_bytes(data)
        begun, _ = markers.read("op-1", 1)
        assert isinstance(begun, dict)

    return read_marker


def fuzz(tmp_path: Path, seconds: float) -> int:
    """Feed every parser of hostops with broken bytes; any exception but its own refusal is a defect."""
    seed = int.from_bytes(os.urandom(8), "big")
    chance, tried = random.Random(seed), 0
    marker = marker_reader(tmp_path / "marks")
    request = json.dumps(REQUEST).encode()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for parser, data in (
            (read_frames, chance.choice(SEEDS)),
            (read_request, request),
            (marker, b'{"process": {}}'),
        ):
            broken = mutated(data, chance)
            try:
                parser(broken)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {parser.__name__} fails on {broken!r}") from error
            tried += 1
    return tried


def test_broken_bytes_are_refused_by_every_parser(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 3.0) > 100


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_broken_bytes_are_refused_by_every_parser_for_ten_minutes(tmp_path: Path) -> None:
    assert fuzz(tmp_path, time_for(600.0)) > 100
