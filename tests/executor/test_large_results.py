"""A large output is stored as the agent sent it, and checked when it is read."""

from typing import Any

import pytest
from msgspec import Raw, Struct, json
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.agents import Acknowledgement
from writ_contracts.large_texts import LARGE
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, decode, encode
from writ_executor.journal.hidden_values import PLACE

TEXT = '"quoted"\té, a line\n' * (LARGE // 8)


class EncodedReceipt(Struct, frozen=True):
    """A ReceiptMessage with any bytes as its full output."""

    receipt: Signed
    principal: str
    full_output: Raw


async def reported(world: World, full_output: bytes, **receipt: Any) -> tuple[str, Acknowledgement]:
    """Return the id of an operation whose agent reports this full output, and the reply to the agent."""
    answer = await world.ask("file_read", parameters={"file_path": "/srv/app/f"})
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    signed = world.hands.receipt_for(work, held, **receipt)
    body = encode(EncodedReceipt(signed, work.principal, Raw(full_output)))
    reply = await world.bus.request(subjects.receipt(world.hands.pool), body, timeout=20)
    return work.operation_id, decode(reply.data, Acknowledgement)


async def shown(world: World, operation_id: str) -> dict[str, Any]:
    """Return the output that the requester gets."""
    query = encode({"operation_id": operation_id})
    reply = await world.bus.request(subjects.query("alice", "result"), query, timeout=20)
    return dict(json.decode(reply.data)["output"])


@pytest.mark.parametrize("size", [10, LARGE - 50, LARGE, len(TEXT)])
async def test_requester_gets_the_whole_output(world: World, size: int) -> None:
    await world.executor()
    output = {"content": TEXT[:size], "length": size}
    operation_id, acknowledged = await reported(world, canonical(output), output={"length": size})
    assert acknowledged.stored
    assert await world.outcome(operation_id) == "succeeded"
    assert await shown(world, operation_id) == output


@pytest.mark.parametrize(
    "full_output",
    [
        b'{"a":' + b"[" * 40 + b'"' + b"x" * LARGE + b'"' + b"]" * 40 + b"}",
        b'{"a":' + b"9" * 30 + b',"b":"' + b"x" * LARGE + b'"}',
        b"{" + b" " * LARGE + b"}",
        b'{"a":"' + b"x" * LARGE + b'","' + PLACE.encode() + b'":"bob.' + b"a" * 26 + b'"}',
    ],
    ids=["deep", "a long number", "white space", "a place of its own"],
)
async def test_output_that_readers_refuse_is_not_shown(world: World, full_output: bytes) -> None:
    await world.executor()
    operation_id, acknowledged = await reported(world, full_output, output={"length": 1})
    assert acknowledged.stored
    expected = {"a": "x" * LARGE} if PLACE.encode() in full_output else {"length": 1}
    assert await shown(world, operation_id) == expected


@pytest.mark.parametrize("full_output", [b'"' + b"x" * LARGE + b'"', b"[1]", b'{"a":' + b"9" * 30 + b"}"])
async def test_receipt_with_an_output_of_another_kind_is_refused(world: World, full_output: bytes) -> None:
    await world.executor()
    operation_id, acknowledged = await reported(world, full_output)
    assert acknowledged.error is not None
    assert (acknowledged.error.code, acknowledged.error.retry) == ("invalid", False)
    assert "finished" not in await world.kinds(operation_id)
