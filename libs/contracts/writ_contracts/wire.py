"""Bytes to structs and back: JSON inside Writ, JSON or MessagePack from outside.

MessagePack is converted to the equivalent JSON, so a statement stored as received is JSON in any case. One decoder
per type, made once. Every fault of the bytes (syntax, schema, size, depth) is one error, Invalid.
"""

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct, structs

from writ_contracts.bounds import check, is_free, is_plain_json
from writ_contracts.errors import Invalid
from writ_contracts.ids import in_words
from writ_contracts.journal import KINDS, OPERATION_KINDS, Carried, JournalEvent
from writ_contracts.large_texts import LARGE, large_texts
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.signing import Signed
from writ_contracts.subjects import EventSubject, parse_event

T = TypeVar("T")
E = TypeVar("E", bound=Struct)

JSON = "application/json"
MSGPACK = "application/msgpack"
LONGEST_MESSAGE = 1000
"""Limit of an error message: it may quote a name of any length."""
MOST_QUOTED, MOST_BACKSLASHES = 200, 64
"""Quotation marks in a large text, and backslashes before one of them, up to which its end is searched for."""
UNREADABLE = (RecursionError, msgspec.DecodeError, ValueError)

_encoder = msgspec.json.Encoder()
_canonical = msgspec.json.Encoder(order="sorted")


def encode(message: Any) -> bytes:
    """Return the message as JSON."""
    return _encoder.encode(message)


def encode_as(message: Any, content_type: str) -> tuple[bytes, str]:
    """Return the message in the sender's encoding, with its name; JSON for an unknown one."""
    if _base(content_type) == MSGPACK:
        return msgspec.msgpack.encode(message), MSGPACK
    return encode(message), JSON


def pack(message: Struct) -> bytes:
    """Return a message with `parameters` as MessagePack, in which a large text is not escaped. The payload of a
    statement is JSON: it becomes the same values, of which the receiver makes the same JSON.
    """
    texts = large_texts(message.parameters)  # type: ignore[attr-defined]
    others = structs.replace(message, parameters={**message.parameters, **dict.fromkeys(texts, "")})  # type: ignore[attr-defined]
    value = msgspec.json.decode(encode(others))
    value["parameters"].update(texts)
    return msgspec.msgpack.encode(value)


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no white space; RFC 8785 for strings, booleans, null, integers and short
    decimals.
    """
    return _canonical.encode(value)


@lru_cache(maxsize=256)
def _is_free(kind: Any) -> bool:
    return kind != JournalEvent and is_free(kind)  # events were checked before they were stored


@lru_cache(maxsize=256)
def _json(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode(data: bytes, kind: type[T], *, content_type: str | None = None, limit: int = 2_000_000) -> T:
    """Return the struct in `data`. Raises Invalid: `oversize`, or `invalid` with the path to the fault.

    With a `content_type` it comes from outside, and JSON with a duplicate name is refused: readers differ in which of
    the two they take.
    """
    _check_message_size(data, limit)
    try:
        text = data if content_type is None else _as_json(data, content_type)
        check_json_size(len(text), limit)
        return _decoded(text, kind, content_type)
    except UNREADABLE as error:
        raise _invalid(error, data) from error


def decode_packed(data: bytes, kind: type[T], *, content_type: str, limit: int = 2_000_000) -> tuple[T, int]:
    """Do what `decode` does for a message with `parameters`, but do not write the large texts in MessagePack as JSON,
    which takes longer than all the rest. Return also the size of the JSON without them: the caller has to call
    `check_json_size` with the whole size. It is 0 if that is done.
    """
    _check_message_size(data, limit)
    try:
        large = len(data) >= LARGE and _base(content_type) == MSGPACK
        value: Any = msgspec.msgpack.decode(data) if large else None
        parameters: Any = value.get("parameters") if isinstance(value, dict) else None
        named = isinstance(parameters, dict) and all(isinstance(name, str) for name in parameters)
        texts = large_texts(parameters) if named else {}
        if not texts:
            return decode(data, kind, content_type=content_type, limit=limit), 0
        check(value)
        text = _packed_as_json({**value, "parameters": {**parameters, **dict.fromkeys(texts, "")}})
        size = len(text) - len(b'""') * len(texts)
        check_json_size(size, limit)
        decoded = _decoded(text, kind, content_type)
        binary = large_texts(decoded.parameters)  # type: ignore[attr-defined]
        size -= sum(len(_encoder.encode(value)) for value in binary.values())  # texts now, as which they count
        decoded.parameters.update(texts)  # type: ignore[attr-defined]
        return decoded, size
    except UNREADABLE as error:
        raise _invalid(error, data) from error


def _check_message_size(data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise Invalid(f"{len(data)} bytes; at most {limit} are allowed", code="oversize")


def check_json_size(size: int, limit: int) -> None:
    """Raises Invalid: MessagePack of 0.8 MB can be 1.6 MB of JSON, which is what travels on."""
    if size > limit:
        raise Invalid(f"{size} bytes as JSON; at most {limit} are allowed", code="oversize")


def _decoded(text: bytes, kind: type[T], content_type: str | None) -> T:
    decoded: T = _json(kind).decode(text)  # type: ignore[arg-type]
    if _is_free(kind) and not is_plain_json(text):  # type: ignore[arg-type]
        check(decoded)
    if content_type is not None:
        parameters = getattr(decoded, "parameters", None)
        _refuse_duplicates(text, large_texts(parameters) if isinstance(parameters, dict) else {})
    return decoded


def _invalid(error: Exception, data: bytes) -> Invalid:
    if isinstance(error, RecursionError):
        return Invalid("nested too deeply")
    return Invalid(_readable(str(error), data)[:LONGEST_MESSAGE])


def _refuse_duplicates(text: bytes, texts: Mapping[str, str]) -> None:
    """Raises Invalid for an object with a name that occurs twice. `texts`: the large ones among its parameters.

    It takes a second reading, in which a large text would take most of the time, so it is left out where that is safe.
    """
    try:
        _unique_names.decode(_without_large_text(text, texts).decode())
    except ValueError:
        _unique_names.decode(text.decode())


def _without_large_text(text: bytes, texts: Mapping[str, str]) -> bytes:
    """Return the JSON with "" in place of its first large parameter, where that begins as we write it.

    What is taken out begins with a quotation mark behind a colon and ends with the next one, so it is the whole value
    of a member. Or it is what stands between two texts of which the first ends with a colon: then no JSON is left.
    """
    for value in texts.values():
        begin = _encoder.encode(value[:64])[:-1]
        start = text.find(begin)
        if text[max(start - 2, 0) : max(start, 0)].endswith((b'":', b": ")):
            end = _end_of_text(text, start, value)
            return text if end is None else text[:start] + b'""' + text[end:]
        return text
    return text


def _end_of_text(text: bytes, start: int, value: str) -> int | None:
    """Return where the text ends that begins with the quotation mark at `start`, probably this value; None if unknown.

    The next quotation mark without a backslash ends it. Few have more than a few with one: to write those takes as long
    as to search for each of them.
    """
    at = start
    for _ in range(MOST_QUOTED):
        at = text.find(b'"', at + 1)
        if at < 0:
            return None
        before = text[max(at - MOST_BACKSLASHES, start + 1) : at]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes == MOST_BACKSLASHES:
            return None
        if backslashes % 2 == 0:
            return at + 1
    written = _encoder.encode(value)
    return start + len(written) if text.startswith(written, start) else None


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) < len(pairs):
        twice = next(name for name in names if sum(name == other for other, _ in pairs) > 1)
        raise Invalid(f"{ascii(twice)[:100]} occurs twice in one object")


_unique_names = json.JSONDecoder(object_pairs_hook=_refuse_twice)


def _readable(error: str, data: bytes) -> str:
    """Return the error in plain words: msgspec calls any input with an early end truncated."""
    if not data:
        return "the message is empty"
    if error == "Input data was truncated":
        return "it ends in the middle of a value, or has half of a surrogate pair"
    return in_words(error)


def _as_json(data: bytes, content_type: str) -> bytes:
    base = _base(content_type)
    if base in ("", JSON):
        return data
    if base != MSGPACK:
        raise Invalid(f"content type {base[:80]!r} is not {JSON} or {MSGPACK}")
    value = msgspec.msgpack.decode(data)
    check(value)  # JSON has no NaN: it would become null
    return _packed_as_json(value)


def _packed_as_json(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except TypeError as error:  # an extension, or a key that is no text
        raise Invalid("MessagePack with a type that JSON lacks") from error


def _base(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def decode_event(data: bytes) -> JournalEvent | Carried:
    """Return one event of the journal; fields added by a newer writer are ignored, and an event of a kind unknown to
    this version is `Carried`.
    """
    return _recent_event(data)


@lru_cache(maxsize=64)
def _recent_event(data: bytes) -> JournalEvent | Carried:
    """Decode an event once for all who read it in turn (an index, the checks of its order and of its signatures)."""
    try:
        return decode(data, JournalEvent)  # type: ignore[arg-type]
    except Invalid:
        kind = decode(data, _Tagged).type
        if kind in KINDS:
            raise
        return structs.replace(decode(data, Carried), kind=kind)


def event_of(subject: str, data: bytes) -> JournalEvent | Carried:
    """Return the event stored under `subject`; `Carried` for a kind of a newer version.

    Raises Invalid where subject and body differ in the operation or the kind of event. NATS permits writers by subject,
    so a body must not be taken for a kind its writer may not write.
    """
    where = parse_event(subject)
    if where is not None and where.event not in OPERATION_KINDS:
        return _carried(where, data)
    event = decode_event(data)
    kind = kind_of(event)
    if where is not None and (where.operation_id, where.event) != (getattr(event, "operation_id", None), kind):
        raise Invalid(f"a body of kind {kind} under the subject {subject[:200]}")
    return event


@cache
def _signed_fields(kind: Any) -> tuple[str, ...]:
    return tuple(one.name for one in structs.fields(kind) if _types_in(one.type) & {Signed, SignedApproval})


def _types_in(annotation: Any) -> set[Any]:
    return {annotation}.union(*map(_types_in, get_args(annotation)))


def detached_event(event: E) -> E:
    """Return a copy to keep in memory. Signed parts of a decoded event are views, and each keeps the whole message,
    with outputs and hidden parameters.
    """
    parts = {name: _detached(getattr(event, name)) for name in _signed_fields(type(event))}
    return structs.replace(event, **parts) if parts else event


def _detached(part: Any) -> Any:
    if isinstance(part, list):
        return [_detached(one) for one in part]
    return None if part is None else part.detached()


def kind_of(event: JournalEvent | Carried) -> str:
    """Return the kind of an event, which is its `type`."""
    return event.kind if isinstance(event, Carried) else str(event.__struct_config__.tag)


class _Tagged(Struct, frozen=True):
    type: str


def _carried(where: EventSubject, data: bytes) -> Carried:
    event = decode(data, Carried)
    if event.operation_id != where.operation_id:
        raise Invalid(f"a body of operation {event.operation_id[:64]} under {where.event} of another operation")
    return structs.replace(event, kind=where.event)
