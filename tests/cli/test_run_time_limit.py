"""`writ run --timeout` bounds the request as well as the wait for its outcome, and says what may be on record."""

import asyncio

from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_contracts.requests import RequestReply

BELOW_THE_DEFAULT = 20.0
"""Seconds; a request without a limit of its own is repeated for 30."""


async def silent() -> RequestReply:
    await asyncio.Event().wait()
    raise AssertionError


async def test_run_without_a_reply_ends_in_its_time_with_the_way_to_repeat_the_request(
    command: Command, served: ScriptedApi
) -> None:
    served.script.extend([silent] * 50)
    words = ("run", "service_restart", "-t", "a", "service_name=nginx", "--timeout", "1s", "--idempotency-key", "mine")
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        done = await command(*words)
    assert done.exit_code == 4
    assert "it may have been accepted: repeat it with `--idempotency-key mine`" in done.stderr


async def test_run_whose_preview_has_no_reply_in_its_time_says_that_nothing_was_changed(
    command: Command, served: ScriptedApi
) -> None:
    served.script.extend([silent] * 50)
    async with asyncio.timeout(BELOW_THE_DEFAULT):
        done = await command("run", "service_restart", "-t", "a", "service_name=nginx", "--diff", "--timeout", "1s")
    assert done.exit_code == 4
    assert "that was the preview: nothing was changed" in done.stderr
    assert {request.dry_run for _, request in served.requests} == {True}
