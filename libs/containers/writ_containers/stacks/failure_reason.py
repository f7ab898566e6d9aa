"""The reason that Compose gives for a failure, for the record: without any value of the stack that may be secret. Pure.

Its last line has the reason. It can quote a variable, a label or a command of the file, whole or in part.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from writ_agent.backends.hostops_requests import redact
from writ_containers.compose.canonical_stack import SECRET_KEYS
from writ_containers.compose.types import Stack
from writ_containers.engine.engine_errors import one_line

SHORT = 5
"""Characters: so short a value is part of many other words, and sought as a whole word alone."""


def how_ended(tool: str, ended: tuple[int, str], stack: Stack, env: Mapping[str, str]) -> str:
    """Return how the tool ended, by its exit status and output. `env`: the variables of the request, all secret."""
    status, output = ended
    lines = [line for line in map(str.strip, output.splitlines()) if line] if status else []
    reason = one_line(_redacted(lines[-1], {*_secrets(stack), *env.values()})) if lines else ""
    return f"{tool} ended with status {status}" + (f" ({reason})" if reason else "")


def _secrets(stack: Stack) -> Iterator[str]:
    for service in msgspec.to_builtins(stack)["services"].values():
        for key in SECRET_KEYS:
            yield from _texts(service.get(key))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for one in value:
                yield from _texts(one)
        case dict():
            yield from _texts(list(value.values()))


def _redacted(line: str, secrets: set[str]) -> str:
    """Return the line without the values, their lines, and their longer words: a message can quote a part."""
    parts = {part.strip() for one in secrets for part in (one, *one.splitlines())}
    words = {word for one in secrets for word in re.findall(r"\w+", one) if len(word) > SHORT}
    line = redact(line, words | {part for part in parts if len(part) > SHORT})
    for short in sorted((part for part in parts if 0 < len(part) <= SHORT), key=len, reverse=True):
        line = re.sub(rf"(?<!\w){re.escape(short)}(?!\w)", "<secret>", line)
    return line
