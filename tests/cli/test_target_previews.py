"""Previews of many targets are short: agents choose their texts."""

import pytest
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_contracts.requests import TargetView

RUN = ("run", "service_restart", "service_name=nginx", "-t", "web-*", "--dry-run", "--idempotency-key", "k")


@pytest.mark.parametrize(
    ("output", "present", "absent"),
    [
        ({"diff": "--- old\n+++ new\n+" + "x" * 5_000 + "\n"}, ["+" + "x" * 199 + "…"], "x" * 200),
        ({"would": "y" * 5_000}, ["would: " + "y" * 200 + "…\n"], "y" * 201),
        ({"changes": [f"step {number}" for number in range(1_000)]}, ["step 0\n", "step 19\n"], "step 20"),
        ({"changes": [{"name": f"n{number}"} for number in range(1_000)]}, ["n0", "n19"], "n20"),
        ({"changed": {f"k{number}": "v" * 900 for number in range(1_000)}}, ["k0", "k19", "v" * 200 + "…"], "k20"),
    ],
)
async def test_a_preview_of_many_targets_is_short_and_says_where_the_whole_one_is(
    command: Command, served: ScriptedApi, output: dict[str, object], present: list[str], absent: str
) -> None:
    served.targets = [TargetView(id="web-1", role="development", backend="local", pool="local-a", agents=1)]
    served.outcome = "previewed"
    await command(*RUN)
    [number] = served.lives
    served.results[number] = output
    done = await command(*RUN)
    assert [text for text in present if text not in done.stdout] == []
    assert absent not in done.stdout
    assert f"    the whole: writ op show {number}\n" in done.stdout
