"""`writ policy eval`: questions as JSON lines in, results out at once, without a server."""

import asyncio
import os
import select
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import Protocol, Self, cast

import click
import msgspec

from writ_cli.arguments.options import asking
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.policy.files import PolicyFiles, offline, read
from writ_cli.terminal.exit_status import Exit
from writ_client.queries.policy_queries import PolicyQueries
from writ_contracts.policy.questions import EvalRequest
from writ_rules import json_lines
from writ_rules.setting import Setting
from writ_runtime.signals import interruptible

CHUNK = 1 << 18


class ByteSource(Protocol):
    """A stream of bytes that returns available data."""

    def read1(self, size: int, /) -> bytes:
        """Return available bytes, at most `size`; wait if there are none; empty at the end."""


class EndableSource:
    """A source which ends when its context does, also for a thread that waits for bytes: Ctrl-C does not interrupt
    that, and the process would wait for the thread.
    """

    def __init__(self, source: BufferedReader) -> None:
        self._source = source
        self._end, self._held_open = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._held_open)  # makes the other end readable

    def read1(self, size: int, /) -> bytes:
        """Return available bytes of the source; none at its end, and after the context."""
        ready, _, _ = select.select([self._source.fileno(), self._end], [], [])
        return b"" if self._end in ready else self._source.read1(size)


@click.command("eval")
@click.option(
    "--requests",
    default="-",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="One JSON object a line; - is standard input.",
)
@offline
@asking
async def evaluate(
    settings: Settings,
    requests: str,
    files: PolicyFiles | None,
) -> int:
    """Decide many requests, as JSON lines.

    One JSON object a line in, one a line out.

    \b
    in   {"id": "1", "principal": "alice", "operation": "service_restart",
          "target": "web-1", "parameters": {"service_name": "nginx"},
          "at": "2026-11-24T09:00:00Z"}
    out  {"id": "1", "decision": "allow", "rules": ["restarts"], "reason": "…",
          "effective_parameters": {…},
          "trace": [{"rule": "restarts", "matched": true, …}]}

    A malformed line gets the reply `invalid`; the others go on. With --policy no server is needed. Without it the
    policy in force decides; requests of others need the right to read it (`audit_read`).
    """
    if settings.screen.form not in ("table", "json") or settings.screen.field is not None:
        refuse_typed(("form", "field"), "the output is always lines of JSON: leave it out")
    with _opened(requests) as source:
        if files is not None:
            with interruptible():
                _decide(read(settings, files), _batches(source))
            return Exit.DONE
        async with await settings.connect() as writ:
            with EndableSource(source) as endable:
                batches = _batches(endable)
                while batch := await asyncio.to_thread(next, batches, None):
                    await _decide_remotely(writ.policy, batch)
    return Exit.DONE


def _opened(requests: str) -> AbstractContextManager[BufferedReader]:
    if requests == "-":
        return nullcontext(cast(BufferedReader, sys.stdin.buffer))
    return Path(requests).open("rb")


def _decide(setting: Setting, batches: Iterator[list[bytes]]) -> None:
    """Reply to available lines at once, so that another program can wait for each result."""
    for batch in batches:
        now = time.time()
        _write(json_lines.reply_line(setting, line, now=now) for line in batch)


async def _decide_remotely(policy: PolicyQueries, batch: list[bytes]) -> None:
    """Reply by the policy in force of a running Writ."""
    read_lines = [json_lines.parsed(line) for line in batch]
    requests = [one for one in read_lines if isinstance(one, EvalRequest)]
    answers = iter(await policy.eval(requests) if requests else ())
    _write(msgspec.json.encode(next(answers) if isinstance(one, EvalRequest) else one) for one in read_lines)


def _write(answers: Iterable[bytes]) -> None:
    sys.stdout.buffer.write(b"".join(answer + b"\n" for answer in answers))
    sys.stdout.buffer.flush()


def _batches(source: ByteSource) -> Iterator[list[bytes]]:
    """Yield the whole lines of each read. A line that is too long is cut, which its result says; its rest is
    dropped.
    """
    rest, dropping = b"", False
    while chunk := source.read1(CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        if dropping and whole:
            del whole[0]
            dropping = False
        if dropping:
            rest = b""
        elif len(rest) > json_lines.LONGEST_LINE:
            whole, rest, dropping = [*whole, rest], b"", True
        if found := [line for line in whole if line.strip()]:
            yield found
    if rest.strip():
        yield [rest]
