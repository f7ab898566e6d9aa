"""`key=value` words into typed parameters, by the operation's own schema.

    key=value      text, number, yes/no, or a list (a,b,c; the key may be repeated)
    key=@file      the file's content (as base64 together with encoding=base64)
    key=-          standard input
    key=@@text     text that begins with @
    key:=JSON      any value, as JSON

What is refused here could not even be written as its type; the operation's definition checks the rest.
"""

import base64
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, inspect

from writ_cli.arguments.parameter_types import plain, types_of
from writ_contracts.errors import Invalid
from writ_contracts.parameter_problems import BETWEEN
from writ_contracts.parameters import problems
from writ_runtime.signals import interruptible

_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_CLOSING = {"[": "]", "{": "}"}


class ParameterWord(Struct, frozen=True):
    """One argument of the command line, parsed."""

    key: str
    text: str
    is_json: bool


def parse(words: Iterable[str], parameters: type[Struct] | None) -> dict[str, Any]:
    """Return the parameters; without a struct (an operation that only the server knows) all are text.

    Raises Invalid with all mistakes: of words that are no value of their parameter's type, and where there is such a
    word, also those that the operation's definition finds in the others.
    """
    types = types_of(parameters) if parameters else {}
    taken = [split(word, types) for word in words]
    encoding = next((word.text for word in taken if word.key == "encoding" and not word.is_json), "")
    values: dict[str, Any] = {}
    mistakes: dict[str, str] = {}
    for word in taken:
        try:
            value = _value(word, types.get(word.key), encoding)
            values[word.key] = _joined(word.key, values[word.key], value) if word.key in values else value
        except Invalid as error:
            mistakes.setdefault(word.key, str(error))
    if mistakes:
        read = {key: value for key, value in values.items() if key not in mistakes}
        others = problems(parameters, read, mistakes) if parameters else []
        raise Invalid(BETWEEN.join([*mistakes.values(), *others]), code="invalid_parameters")
    return values


def split(word: str, known: Iterable[str] = ()) -> ParameterWord:
    """Parse `key=value` or `key:=JSON`; raises Invalid, which names the known keys."""
    key, sign, text = word.partition("=")
    if not sign or not key.rstrip(":"):
        keys = ", ".join(known)
        raise Invalid(f"{word!r} is not key=value{keys and f'; there are {keys}'}", code="invalid_parameters")
    return ParameterWord(key.removesuffix(":"), text, key.endswith(":"))


def _value(word: ParameterWord, kind: inspect.Type | None, encoding: str) -> Any:
    if word.is_json:
        try:
            return msgspec.json.decode(word.text)
        except msgspec.DecodeError as error:
            raise _wrong(word.key, f"is not JSON: {error}") from error
    if word.text == "-" or (word.text.startswith("@") and not word.text.startswith("@@")):
        return _content(word, encoding)
    return _typed(word.key, word.text.removeprefix("@") if word.text.startswith("@@") else word.text, kind)


def _content(word: ParameterWord, encoding: str) -> str:
    try:
        with interruptible():
            data = sys.stdin.buffer.read() if word.text == "-" else Path(word.text[1:]).read_bytes()
    except OSError as error:
        raise _wrong(word.key, f"{word.text[1:]}: {error.strerror}") from error
    if encoding == "base64":
        return base64.b64encode(data).decode()
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _wrong(word.key, "is not UTF-8 text; bytes go with encoding=base64") from None


def _typed(key: str, text: str, kind: inspect.Type | None) -> Any:
    match kind:
        case inspect.IntType():
            return _number(key, text, int, "a whole number")
        case inspect.FloatType():
            return _number(key, text, float, "a number")
        case inspect.BoolType():
            return _switch(key, text)
        case inspect.ListType():
            _refuse_json(key, text, list)
            item = plain(kind.item_type)
            return [_typed(key, part, item) for part in text.split(",")] if text else []
        case inspect.DictType():
            _refuse_json(key, text, dict)
            name, sign, value = text.partition("=")
            if not sign:
                raise _wrong(key, "takes name=value")
            return {name: _typed(key, value, plain(kind.value_type))}
        case inspect.UnionType():
            return _first_that_fits(key, text, kind)
        case inspect.StructType():
            raise _wrong(key, f"takes a structure: {key}:=JSON")
        case _:
            return text


def _refuse_json(key: str, text: str, kind: type[list[Any]] | type[dict[str, Any]]) -> None:
    """Raise Invalid for a list or object in the notation of JSON: by its commas it would become other values."""
    inner = text[1:-1]
    if not text.startswith(opening := "[" if kind is list else "{") or not text.endswith(closing := _CLOSING[opening]):
        return
    if _is_json(text, kind) or ("," in inner and opening not in inner and closing not in inner):
        usual = f"{key}=a,b,c" if kind is list else f"{key}=name=value"
        raise _wrong(
            key, f"JSON goes with := as in {key}:={text[:40]}{'…' if len(text) > 40 else ''}, other values as {usual}"
        )


def _is_json(text: str, kind: type[list[Any]] | type[dict[str, Any]]) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), kind)
    except (msgspec.DecodeError, RecursionError):
        return False


def _number(key: str, text: str, kind: Callable[[str], Any], name: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise _wrong(key, f"{text[:40]!r} is not {name}") from None


def _switch(key: str, text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise _wrong(key, f"{text[:40]!r} is neither yes nor no")
    return word in _TRUE


def _first_that_fits(key: str, text: str, kind: inspect.UnionType) -> Any:
    arms = sorted((plain(arm) for arm in kind.types), key=lambda arm: isinstance(arm, inspect.StrType))
    for arm in arms:
        if isinstance(arm, inspect.NoneType):
            continue
        try:
            return _typed(key, text, arm)
        except Invalid:
            continue
    return text


def _joined(key: str, before: Any, value: Any) -> Any:
    if isinstance(before, list) and isinstance(value, list):
        return before + value
    if isinstance(before, dict) and isinstance(value, dict):
        return before | value
    raise _wrong(key, "is given twice")


def _wrong(key: str, why: str) -> Invalid:
    return Invalid(f"{key}: {why}", code="invalid_parameters")
