"""JetStream's requests and replies, and the meaning of its error codes for us.

nats-py's JetStream client is not used: it drops configuration fields it does not know, and its timeouts cannot be
distinguished from refusals. Source: NATS ADR-1, ADR-31 (direct get), server/errors.json.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from nats.aio.msg import Msg

from writ_bus.errors import BusError, BusRefused, Conflict, Full, Unreachable
from writ_bus.nats.client.headers import parse_headers
from writ_bus.nats.replies import Replies, is_status
from writ_contracts.history.records import Record

API = "$JS.API."
CLOCK = "writ.api.clock"
"""Subject on which accounts request the time of the journal's server (see api_rights): an API reply with `ts`."""
WRONG_SEQUENCE = frozenset({10071, 10158, 10164})
"""Somebody else's event is the last one, or ours is, or both were proposed at once (replicated streams)."""
FULL = frozenset({10077, 10023, 10047})
"""Maximum bytes of the stream, no space on the disk, storage of the account."""
NO_MESSAGE = 10037
STREAM_NOT_FOUND = 10059
NOT_YET = frozenset({10008, 10074, 10118, 10167, 10176, 10195})
"""The meta or stream leader is not there yet or too busy, or part of a batch was sent while there was none: nothing was
done, try again.
"""
NO_SUITABLE_SERVER = 10005
OFFLINE = "peer offline"
"""Part of the description if a server of the cluster is down, or not known to the others yet."""


class ApiError(msgspec.Struct, frozen=True):
    """An error from the server."""

    code: int
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct, frozen=True):
    """The reply to a published message stored by a stream."""

    stream: str = ""
    seq: int = 0
    error: ApiError | None = None
    batch: str | None = None
    count: int = 0


class StoredMessage(msgspec.Struct, frozen=True):
    """A message in the form of STREAM.MSG.GET; headers as on the wire."""

    subject: str
    seq: int
    time: str
    hdrs: bytes = b""
    data: bytes = b""


class MessageGetReply(msgspec.Struct, frozen=True):
    """The reply of STREAM.MSG.GET."""

    message: StoredMessage | None = None
    error: ApiError | None = None


class ApiReply(msgspec.Struct, frozen=True):
    """The common part of all API replies."""

    error: ApiError | None = None


_OF_THE_DELIVERY = frozenset(
    f"Nats-{what}" for what in ("Stream", "Subject", "Sequence", "Time-Stamp", "Last-Sequence", "Num-Pending")
)
_pub_ack = msgspec.json.Decoder(PubAck)
_answer = msgspec.json.Decoder(ApiReply)
_got = msgspec.json.Decoder(MessageGetReply)
_anything = msgspec.json.Decoder(dict[str, Any])


def error_of(error: ApiError, about: str) -> BusError:
    """Return our error for a server's error."""
    text = f"{about}: {error.description} ({error.err_code})"
    if error.err_code in WRONG_SEQUENCE:
        return Conflict(text, last=_last_sequence(error.description))
    if error.err_code in FULL:
        return Full(text)
    offline = error.err_code == NO_SUITABLE_SERVER and OFFLINE in error.description
    if offline or error.err_code in NOT_YET or error.code == 503:
        return Unreachable(text)
    return BusRefused(text, number=error.err_code)


def _last_sequence(description: str) -> int | None:
    """Return 7 for `wrong last sequence: 7`; None for the constant form of a replicated stream."""
    tail = description.rpartition(" ")[2]
    return int(tail) if tail.isdigit() else None


def stored(message: Msg, about: str) -> int:
    """Return the sequence under which the server stored it. Raises Conflict, Full, Unreachable, BusRefused."""
    try:
        ack = _pub_ack.decode(message.data)
    except msgspec.DecodeError:
        raise BusRefused(f"{about}: the reply does not come from a stream") from None
    if ack.error:
        raise error_of(ack.error, about)
    return ack.seq


async def call(replies: Replies, verb: str, request: Mapping[str, Any], *, timeout: float = 5.0) -> dict[str, Any]:
    """Send one request of the JetStream API, such as `STREAM.INFO.NAME`."""
    return await call_subject(replies, API + verb, request, timeout=timeout)


async def call_subject(
    replies: Replies, subject: str, request: Mapping[str, Any], *, timeout: float = 5.0
) -> dict[str, Any]:
    """Send one request of the API under another subject."""
    message = await replies.one(subject, msgspec.json.encode(request) if request else b"", timeout=timeout)
    if error := _answer.decode(message.data).error:
        raise error_of(error, subject)
    return _anything.decode(message.data)


async def direct_get_last(replies: Replies, stream: str, subject: str, timeout: float) -> Record | None:
    """Return the last message on exactly this subject. The subject is part of the request's subject, so permissions can
    name it.
    """
    return record(await replies.one(f"{API}DIRECT.GET.{stream}.{subject}", b"", timeout=timeout))


def leader_of(stream: str) -> str:
    """Return the subject for STREAM.MSG.GET in every permitted account (see api_rights): a cluster's leader replies."""
    return f"writ.api.leader.{stream}"


def purge_of(stream: str) -> str:
    """Return the subject for STREAM.PURGE in accounts with the right to delete there."""
    return f"writ.api.purge.{stream}"


async def leader_get(replies: Replies, stream: str, request: Mapping[str, Any], timeout: float) -> Record | None:
    """Return one message of a stream, by `seq` or `last_by_subj`, from its leader, which never lags behind; None if
    there is none. TimedOut while there is no leader.

    Not a direct get: its subject also serves batches, and the server keeps 2.5 KB for each request with possibly many
    replies.
    """
    subject = leader_of(stream)
    answer = _got.decode((await replies.one(subject, msgspec.json.encode(request), timeout=timeout)).data)
    if answer.error is not None and answer.error.err_code != NO_MESSAGE:
        raise error_of(answer.error, subject)
    found = answer.message
    if found is None:
        return None
    return Record(found.seq, found.subject, found.data, parse_headers(found.hdrs), _seconds(found.time))


async def direct_get_batch(
    replies: Replies, stream: str, request: Mapping[str, Any], timeout: float
) -> tuple[list[Record], int]:
    """Return the messages of a `batch` request in order, and how many follow them."""
    data = msgspec.json.encode(request)
    answers = await replies.until(f"{API}DIRECT.GET.{stream}", data, _is_end, timeout=timeout)
    *messages, end = answers
    if is_status(end, "503"):
        raise Unreachable(f"no server has the stream {stream}")
    if not is_status(end, "204") and not is_status(end, "404"):
        raise BusRefused(f"direct get from {stream}: {(end.headers or {}).get('Description', 'no description')}")
    more = int((end.headers or {}).get("Nats-Num-Pending", "0"))
    return [found for message in messages if (found := record(message))], more


def _is_end(message: Msg) -> bool:
    headers = message.headers
    return not message.data and headers is not None and "Status" in headers and "Nats-Sequence" not in headers


def record(message: Msg) -> Record | None:
    """Return the message of a direct get, or of a stream's RePublish; None for the status 404."""
    headers = message.headers or {}
    # A stored message may have a header of this name, which its writer chose: it is no status of the server's.
    status = None if "Nats-Sequence" in headers else headers.get("Status")
    if status == "404":
        return None
    if status is not None:
        raise BusRefused(f"direct get: {headers.get('Description', status)}")
    own = {name: value for name, value in headers.items() if name not in _OF_THE_DELIVERY}
    time = _seconds(headers["Nats-Time-Stamp"])
    return Record(int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data, own, time)


def time_of(answer: Mapping[str, Any]) -> float:
    """Return the time of this reply by the server's clock. Raises BusRefused where it has none."""
    if not isinstance(timestamp := answer.get("ts"), str):
        raise BusRefused(f"{CLOCK}: the reply has no time")
    return _seconds(timestamp)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
