"""Values to try for one parameter: at and around every limit, listed and not, matching and not, of every relevant
length, and always some the operation's own schema accepts.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct, UnsetType, json, structs

from writ_rules.engine.clauses.checks import (
    Check,
    ItemsCheck,
    LengthCheck,
    NumberLimit,
    PatternCheck,
    RequiredItemsCheck,
    ValuesCheck,
)
from writ_rules.engine.verbs import Verb
from writ_rules.values import regexes
from writ_rules.values.domains import taken
from writ_rules.values.joint_samples import joined

GENERIC = (
    "a",
    "nginx",
    "web-1",
    "/srv/app",
    "/etc/passwd",
    "1.0",
    "nginx:1",
    "10.0.0.0/24",
    "x!",
    "~",
    "a" * 26,
    "0" * 64,
    "",
    "a\nb",
    "\u00e9",
    "/\u00e9",
)
LONGEST = 1_025
"""Characters or items up to which lengths are tried; limits beyond are not, and `notes` names them."""


def candidates(verb: Verb, name: str, checks: Iterable[Check]) -> list[Any]:
    """Return values the schema accepts, each once, those the schema itself suggests first."""
    return list(_candidates(verb.hints[name], verb.types[name], tuple(checks)))


@lru_cache(maxsize=64)
def _candidates(hint: Any, types: frozenset[str], checks: tuple[Check, ...]) -> tuple[Any, ...]:
    """Operations whose parameters have one type, such as those on services, share the values: 1,000 patterns of one
    parameter take half a second.
    """
    suggested = list(_suggested(hint))
    needed = [value for check in checks for value in suggestions(check)]
    texts = [value for value in (*suggested, *needed) if isinstance(value, str)]
    lengths = [check.limit for check in checks if isinstance(check, LengthCheck)]
    more = [value for length in lengths for value in _of_length(length, texts, suggested)]
    if texts or "string" in types:
        more += [*GENERIC, *(text + "x" for text in texts)]
        more += _of_patterns(hint, checks, [*texts, *more])
    by_content: dict[bytes, Any] = {}
    for value in (*suggested, *needed, *more):
        for made in taken(hint, [value]) if value is not None else ():
            by_content.setdefault(json.encode(made) + type(made).__name__.encode(), made)
    return tuple(by_content.values())


@lru_cache(maxsize=256)
def _suggested(hint: Any) -> tuple[Any, ...]:
    return tuple(_of_hint(hint, ()))


def _of_patterns(hint: Any, checks: Iterable[Check], texts: list[Any]) -> Iterable[str]:
    patterns = tuple(dict.fromkeys(check.pattern for check in checks if isinstance(check, PatternCheck)))
    if not patterns:
        return ()
    return joined(hint, patterns, tuple(text for text in texts if isinstance(text, str)))


@lru_cache(maxsize=4096)
def optional(verb: Verb, name: str) -> bool:
    """Return whether a request may leave the parameter out."""
    return not next(field for field in structs.fields(verb.operation.parameters) if field.name == name).required


def suggestions(check: Check) -> Iterator[Any]:
    """Yield values at and around the limits of one check."""
    if isinstance(check, NumberLimit):
        for step in (0, 1, -1):
            yield check.limit + step
        if isinstance(check.limit, float):
            yield from (check.limit + 0.5, check.limit - 0.5, int(check.limit), int(check.limit) + 1)
        else:
            yield from (check.limit + 0.5, check.limit - 0.5)
    elif isinstance(check, ValuesCheck):
        for _, value in sorted(check.values, key=str):
            yield value
            if isinstance(value, float) and value.is_integer():  # 60.0 in a policy is 60 in a request
                yield int(value)
    elif isinstance(check, ItemsCheck):
        yield from ([], *([value] for value in suggestions(check.values)), list(suggestions(check.values)))
    elif isinstance(check, RequiredItemsCheck):
        items = [value for _, value in sorted(check.values, key=str)]
        yield from ([], items, items[1:])
    elif isinstance(check, PatternCheck):
        yield from regexes.samples(check.pattern.text)


def _of_length(length: int, texts: list[str], suggested: list[Any]) -> Iterator[Any]:
    for needed in (length, length + 1, length - 1):
        if not 0 <= needed <= LONGEST:
            continue
        for text in (*texts, *GENERIC[:4]):
            yield text[:needed] if len(text) >= needed else text + text[-1:] * (needed - len(text))
        for value in suggested:
            if isinstance(value, list) and value:
                yield (value * (needed // len(value) + 1))[:needed]
            elif isinstance(value, dict) and value:
                key, item = next(iter(value.items()))
                yield {f"{key}{at}": item for at in range(needed)}


def _of_hint(hint: Any, metas: tuple[Meta, ...]) -> Iterator[Any]:
    """Yield values suggested by a type; not all of them are valid."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *more = get_args(hint)
        yield from _of_hint(inner, (*metas, *(meta for meta in more if isinstance(meta, Meta))))
    elif origin in (Union, UnionType):
        for arm in get_args(hint):
            if arm not in (NoneType, UnsetType):
                yield from _of_hint(arm, metas)
    elif origin is Literal:
        yield from get_args(hint)
    elif hint is bool:
        yield from (False, True)
    elif hint in (int, float):
        yield from _numbers(hint, metas)
    elif hint is str:
        yield from _texts(metas)
    else:
        yield from _containers(hint, origin)


def _containers(hint: Any, origin: Any) -> Iterator[Any]:
    if origin is list:
        items = list(_of_hint(get_args(hint)[0], ()))
        yield from ([], items[:1], items[:2])
    elif origin is dict:
        keys, items = (list(_of_hint(part, ())) for part in get_args(hint))
        yield from ({}, dict(zip(keys[:1], items, strict=False)))
    elif isinstance(hint, type) and issubclass(hint, Struct):
        hints = get_type_hints(hint, include_extras=True)
        needed = [field.name for field in structs.fields(hint) if field.required]
        yield {name: next(_of_hint(hints[name], ()), None) for name in needed}


def _numbers(kind: Any, metas: tuple[Meta, ...]) -> Iterator[Any]:
    lows = [meta.ge if meta.ge is not None else meta.gt for meta in metas if (meta.ge, meta.gt) != (None, None)]
    highs = [meta.le if meta.le is not None else meta.lt for meta in metas if (meta.le, meta.lt) != (None, None)]
    for limit in (*lows, *highs):
        yield from (kind(limit), kind(limit + 1), kind(limit - 1)) if limit is not None else ()
    yield from (kind(1), kind(0), kind(1_800_000_000))


def _texts(metas: tuple[Meta, ...]) -> Iterator[str]:
    patterns = [meta.pattern for meta in metas if meta.pattern is not None]
    made = [text for pattern in patterns for text in regexes.samples(pattern)]
    yield from (text for text in GENERIC[1:4] if not patterns)
    yield from made
    yield from GENERIC
