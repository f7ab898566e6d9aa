"""Reading a message of JSON-RPC 2.0, with an error in plain words for text that is none: the SDK drops such a line of
standard input, and over HTTP replies with pages of its validator.
"""

from typing import Any

import msgspec
from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)

SHOWN = 200
"""The most characters of an id that an error repeats."""


class MalformedMessage(Exception):
    """Raised for text that is no message. `reply` is its answer: an error with the id in the text, or null."""

    def __init__(self, code: int, text: str, message_id: str | int | None = None) -> None:
        super().__init__(text)
        self.reply = JSONRPCError(jsonrpc="2.0", id=message_id, error=ErrorData(code=code, message=text))


def parsed(text: bytes) -> JSONRPCMessage:
    """Return the message. Raises MalformedMessage (JSON-RPC 2.0, section 5.1).

    The text is parsed once: the adapter's `validate_json` would convert it for each kind of message, which blocks the
    event loop for half a second at 200 KB.
    """
    raw = _json(text)
    try:
        message = jsonrpc_message_adapter.validate_python(raw, by_name=False)
    except ValueError:
        raise _malformed(raw) from None
    if isinstance(message, JSONRPCNotification) and "id" in raw:
        raise _invalid("id must be a string or an integer", raw)  # the SDK takes it for a notification, without a reply
    return message


def _malformed(raw: Any) -> MalformedMessage:
    if isinstance(raw, list):
        return _invalid("the protocol has no batches: send each message by itself", raw)
    if not isinstance(raw, dict):
        return _invalid("a message is a JSON object", raw)
    if raw.get("jsonrpc") != "2.0":
        return _invalid('jsonrpc must be "2.0"', raw)
    if "method" in raw and not isinstance(raw["method"], str):
        return _invalid("method must be a string", raw)
    if not isinstance(raw.get("params", {}), dict):
        return _invalid("params must be an object", raw)
    return _invalid("neither a request, a notification nor a response of JSON-RPC 2.0", raw)


def _json(text: bytes) -> Any:
    """Return the value. Raises MalformedMessage where it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise MalformedMessage(PARSE_ERROR, "this is not JSON, or it is nested too deeply") from None


def _invalid(text: str, raw: Any) -> MalformedMessage:
    found = raw.get("id") if isinstance(raw, dict) else None
    known = (isinstance(found, str) and len(found) <= SHOWN) or (isinstance(found, int) and not isinstance(found, bool))
    return MalformedMessage(INVALID_REQUEST, text, found if known else None)
