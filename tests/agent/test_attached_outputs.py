"""An agent attaches the large texts of an output where the claim's reply permits it, and digests what it sends."""

from typing import Any

import pytest
from tests.agent.conftest import TARGET, World

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_contracts.agents import Receipt, ReceiptMessage
from writ_contracts.large_texts import LARGE
from writ_contracts.wire import canonical
from writ_trust.digests import derive, keyed_digest, keyed_digest_of_parts

OUTPUT: dict[str, Any] = {"echo": '"é\n' * LARGE, "digest": "small"}
BODY = OUTPUT["echo"].encode()


async def report(world: World, output: dict[str, Any]) -> tuple[Receipt, ReceiptMessage, bytes]:
    """Return the receipt of an operation with this output, its message, and what was attached."""

    async def run(task: Task, progress: Progress) -> TaskResult:
        return TaskResult(outcome="succeeded", output=output)

    world.backend.scripts["test_secret"] = run
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_secret", TARGET, secret="x"))
    return receipt, world.executor.receipts[0], world.executor.attached[0]


@pytest.mark.parametrize("attaches", [True, False])
async def test_large_texts_are_attached_if_the_reply_permits_it(world: World, attaches: bool) -> None:
    world.executor.attaches = attaches
    receipt, message, attached = await report(world, OUTPUT)
    assert message.full_output == OUTPUT
    assert attached == (BODY if attaches else b"")
    key, values = derive(world.key.seed, "writ.contents", TARGET.id), {"digest": "small"}
    head = canonical({"texts": [("echo", len(BODY))], "values": values})
    digests = {False: keyed_digest(key, OUTPUT), True: keyed_digest_of_parts(key, head, b"\0", BODY)}
    sizes = {False: len(canonical(OUTPUT)), True: len(BODY) + len(canonical(values))}
    assert (receipt.output_digest, receipt.output_bytes) == (digests[attaches], sizes[attaches])


async def test_small_output_has_one_form(world: World) -> None:
    world.executor.attaches = True
    receipt, message, attached = await report(world, {"echo": "x"})
    assert (message.full_output, message.texts, attached) == ({"echo": "x"}, [], b"")
    assert receipt.output_digest == keyed_digest(derive(world.key.seed, "writ.contents", TARGET.id), {"echo": "x"})


async def test_output_that_no_message_can_hold_is_named_by_its_size(world: World) -> None:
    world.executor.attaches = True
    receipt, message, attached = await report(world, {"echo": "x" * 1_900_000})
    assert (message.full_output, attached) == ({"omitted_bytes": receipt.output_bytes}, b"")
