"""Bounds of values in messages: types for fields, and `check` for free values, whose type says nothing.

msgspec takes integers of any size into `Any`, and 900 levels (with Python 3.13 several thousand); other readers of the
same JSON refuse or change them.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct, inspect, json

from writ_contracts.errors import Invalid

MOST_LEVELS = 32
MOST_VALUES = 400_000
"""As many symbols as a host's frame may have."""
LEAST_WHOLE, MOST_WHOLE = -(1 << 63), (1 << 64) - 1
_DIGITS_AS_0 = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_RUN = b"0" * len(str(-LEAST_WHOLE))

Label = Annotated[str, Meta(max_length=255)]
Text = Annotated[str, Meta(max_length=2000)]
LongText = Annotated[str, Meta(max_length=20_000)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Attempt = Annotated[int, Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""An instant (Unix seconds) or a period."""
Signature = Annotated[str, Meta(max_length=128)]
MOST_NAMES, LONGEST_NAME = 1024, 1024
Values = Annotated[dict[Annotated[str, Meta(max_length=LONGEST_NAME)], Any], Meta(max_length=MOST_NAMES)]
"""Free values by name: parameters, an output, a state. Decoding checks them by `check`."""
Labels = Annotated[dict[Label, Label], Meta(max_length=256)]


def is_plain_json(text: bytes) -> bool:
    """Return true where `check` cannot refuse the values that msgspec decodes from this JSON.

    A sufficient condition for the common, short message, at the price of three searches: too few brackets to nest too
    deep, too few bytes for too many values, no run of digits as long as 2**63. JSON itself has no NaN, and msgspec
    refuses infinite numbers and halves of surrogate pairs.
    """
    return (
        len(text) <= MOST_VALUES
        and text.count(b"{") + text.count(b"[") <= MOST_LEVELS
        and _LONG_RUN not in text.translate(_DIGITS_AS_0)
    )


def check(value: Any) -> None:
    """Raises Invalid for a value nested too deep, with too many parts, or with a number or text refused by some readers
    of JSON. The payload of a statement, a `Raw`, is checked like a message of its own. Raises msgspec.DecodeError or
    RecursionError where it cannot be read.
    """
    waiting, count = [(value, 0)], 0
    while waiting:
        one, level = waiting.pop()
        parts = _parts(one)
        if parts is None:
            _check_plain(one)
            continue
        count += len(parts)
        if level > MOST_LEVELS:
            raise Invalid(f"nested too deeply: more than {MOST_LEVELS} levels")
        if count > MOST_VALUES:
            raise Invalid(f"more than {MOST_VALUES} values in one message")
        waiting += [(part, level + 1) for part in parts]


def check_values(values: dict[str, Any]) -> None:
    """Raises Invalid for values `Values` cannot hold."""
    if len(values) > MOST_NAMES or any(len(name) > LONGEST_NAME for name in values):
        raise Invalid(f"more than {MOST_NAMES} values, or a name of more than {LONGEST_NAME} characters")
    check(values)


def _parts(value: Any) -> list[Any] | None:
    match value:
        case dict():
            return [*value, *value.values()]
        case list() | tuple():
            return list(value)
        case Struct():
            return [getattr(value, name) for name in value.__struct_fields__]
        case _:
            return None


def _check_plain(value: Any) -> None:
    match value:
        case str() if not value.isascii():
            _check_text(value)
        case bool():
            return
        case int() if not LEAST_WHOLE <= value <= MOST_WHOLE:
            raise Invalid("a number with more than 64 bits")
        case Raw() if bytes(memoryview(value)[:1]) in (b"{", b"["):
            _check_nested(value)
        case float() if not math.isfinite(value):
            raise Invalid("a number that is not finite")
        case _:
            return


def _check_nested(written: Raw) -> None:
    if not is_plain_json(bytes(written)):
        check(json.decode(written))


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid("a text with half of a surrogate pair") from None


def is_free(kind: Any) -> bool:
    """Return whether messages of this type hold free values."""
    waiting, visited = [inspect.type_info(kind)], set[type]()
    while waiting:
        match waiting.pop():
            case inspect.AnyType():
                return True
            case inspect.StructType() as struct if struct.cls not in visited:
                visited.add(struct.cls)
                waiting += [field.type for field in struct.fields]
            case inspect.UnionType() as union:
                waiting += union.types
            case inspect.Metadata() as described:
                waiting.append(described.type)
            case inspect.DictType() as mapping:
                waiting += [mapping.key_type, mapping.value_type]
            case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() as items:
                waiting.append(items.item_type)
            case _:
                continue
    return False


def cut(text: str, most: int = 2000) -> str:
    """Return at most so many characters of a text from elsewhere."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cut_list(text: str, most: int = 1000) -> str:
    """Return at most so many characters of a list with semicolons: its first entries, each one whole."""
    return text if len(text) <= most else f"{text[: most - 3].rpartition('; ')[0] or text[: most - 3]}; …"


def first_names(names: Sequence[str], most: int = 3) -> str:
    """Return at most so many names, separated by commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
