"""A large output comes with its texts attached, and is stored under AES, if all executors have AES."""

import asyncio
import time
from typing import Any

import pytest
from tests.executor.conftest import World
from tests.executor.test_large_results import shown
from tests.executor.test_parameter_seal import claimed as claimed_apart

from writ_bus.errors import Forbidden
from writ_bus.port import Message, Service
from writ_contracts import subjects
from writ_contracts.agents import Acknowledgement, ReceiptMessage
from writ_contracts.attached_bytes import attach, detach
from writ_contracts.errors import Unreachable, Untrusted, WritError
from writ_contracts.large_texts import LARGE
from writ_contracts.wire import decode, encode
from writ_executor.journal.large_parameters import LargeParameters
from writ_executor.journal.stored_parameters import EncryptedParameters, open_parameters
from writ_executor.replicas import EVERY, EVERY_IF_REFUSED, METADATA, ExecutorReplicas
from writ_executor.service import Executor
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_trust.sealing import encrypt_once

TEXT = '"quoted"\té, a line\n' * (LARGE // 8)
BODY = TEXT.encode()


async def replica(world: World) -> Executor:
    """Return an executor that has found itself alone."""
    one = await world.executor()

    async def found() -> bool:
        return one.replicas.all_read_attached()

    await eventually(found)
    return one


async def add_one_without_aes(world: World, one: Executor) -> None:
    """Add an executor that replies as one does whose processor lacks AES."""
    metadata = {"level": METADATA["level"]}
    await MemoryBus(world.broker).serve(
        Service(name="executor", version="0.1.0", description="", endpoints=[], metadata=metadata)
    )
    await one.replicas.look()


async def reported(
    world: World, values: dict[str, Any], texts: list[tuple[str, int]], attached: bytes
) -> tuple[str, Acknowledgement]:
    """Return the id of an operation whose agent reports this output, and the reply to the agent."""
    answer = await world.ask("file_read", parameters={"file_path": "/srv/app/f"})
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    signed = world.hands.receipt_for(work, held, output={"length": 1})
    head = encode(ReceiptMessage(receipt=signed, principal=work.principal, full_output=values, texts=texts))
    reply = await world.bus.request(subjects.receipt(world.hands.pool), attach(head, attached), timeout=20)
    return work.operation_id, decode(reply.data, Acknowledgement)


async def claimed(world: World) -> bool:
    """Return whether the reply to a claim permits attached texts."""
    answer = await world.ask("file_read", parameters={"file_path": "/srv/app/f"})
    return (await world.hands.claim(await world.work(answer.operation_id or ""))).answer.attaches


async def stored(world: World, operation_id: str) -> bytes:
    return await world.bus.results.get(f"alice.{operation_id}") or b""


async def test_requester_gets_the_output_whose_texts_were_attached(world: World) -> None:
    await replica(world)
    assert await claimed(world)
    values = {"encoding": "utf-8", "length": len(BODY)}
    operation_id, acknowledged = await reported(world, values, [("content", len(BODY))], BODY)
    assert acknowledged.stored
    assert await shown(world, operation_id) == {**values, "content": TEXT}
    assert len(await stored(world, operation_id)) < len(BODY) + 500  # as it came, and not as JSON
    assert b"quoted" not in await stored(world, operation_id)


async def test_one_executor_without_aes_is_enough_for_the_other_form(world: World) -> None:
    one = await replica(world)
    await add_one_without_aes(world, one)
    assert not await claimed(world)
    operation_id, acknowledged = await reported(world, {"length": 1}, [("content", len(BODY))], BODY)
    assert acknowledged.stored  # an agent may have its permission from before
    plain = world.shared.decrypt(await stored(world, operation_id))
    assert decode(plain, dict[str, Any])["content"] == TEXT
    assert await shown(world, operation_id) == {"length": 1, "content": TEXT}


async def test_large_parameters_are_stored_under_aes_if_all_executors_have_it(world: World) -> None:
    one = await replica(world)
    plain = b"x" * LARGE
    fast = one.intake._vault._encrypt(plain)
    await add_one_without_aes(world, one)
    other = one.intake._vault._encrypt(plain)
    assert (len(fast), len(other)) == (len(world.shared.encrypt_large(plain)), len(world.shared.encrypt(plain)))
    assert world.shared.decrypt(fast) == world.shared.decrypt(other) == plain


GIVEN = {"file_path": "/srv/app/f", "content": TEXT, "note": TEXT + "more"}


def stored_form(executor: Executor) -> EncryptedParameters:
    return executor.intake._vault.prepared(GIVEN, LargeParameters("ab" * 32, GIVEN)).encrypt()


async def test_large_texts_of_parameters_have_a_key_of_their_own_once_all_executors_read_it(world: World) -> None:
    one = await replica(world)
    apart = stored_form(one)
    await add_one_without_aes(world, one)
    whole = stored_form(one)
    assert (apart.texts is not None, whole.texts) == (True, None)
    for stored in (apart, whole):
        assert open_parameters(world.shared.decrypt, stored.data).values == GIVEN
        assert b"quoted" not in stored.data
        assert len(BODY) <= stored.plain_bytes / 2 <= 1.3 * len(BODY)


async def test_changed_bit_of_stored_parameters_is_found(world: World) -> None:
    data = stored_form(await replica(world)).data
    for at in (12, 60, 200, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(Untrusted):
            open_parameters(world.shared.decrypt, bytes(changed))


def head_of(stored: bytes) -> bytes:
    return stored[13 : 13 + int.from_bytes(stored[9:13], "big")]


def framed(head: bytes, texts: bytes) -> bytes:
    return b"writ.txt\0" + len(head).to_bytes(4, "big") + head + texts


async def test_other_stored_values_are_no_parameters(world: World) -> None:
    one = await replica(world)
    vault, data = one.intake._vault, stored_form(one).data
    assert open_parameters(world.shared.decrypt, framed(head_of(data), data[13 + len(head_of(data)) :])).values == GIVEN
    key, none = encrypt_once(b"")
    await vault.keep_result("alice", "an-output", {"values": GIVEN, "texts": [], "key": key.hex()})
    output = await world.bus.results.get("alice.an-output") or b""
    small = world.shared.encrypt(encode({"file_path": "/srv/app/f"}))
    other = LargeParameters("ab" * 32, {"content": "y" * LARGE}).encrypted.data
    for changed in (
        framed(output, none),
        framed(small, none),
        framed(head_of(data), other),
        framed(head_of(data), b""),
        framed(head_of(data)[:-1], data),
        b"writ.txt\0",
        b"writ.txt\0\xff\xff\xff\xffx",
        world.shared.encrypt(b"[]"),
    ):
        with pytest.raises(Untrusted):
            open_parameters(world.shared.decrypt, changed)


async def test_agent_gets_the_large_texts_as_they_are_stored(world: World) -> None:
    await replica(world)
    _, reply = await claimed_apart(world)
    [stored] = [data for name, (data, _) in world.broker.disk.kept.items() if name.startswith("writ.params.")]
    _, texts = detach(reply)
    assert len(texts) >= LARGE
    assert stored.endswith(texts)


@pytest.mark.parametrize(
    ("values", "texts", "attached"),
    [
        ({}, [("content", 1)], b"xy"),
        ({}, [("content", 3)], b"xy"),
        ({}, [], b"xy"),
        ({"content": ""}, [("content", 2)], b"xy"),
        ({}, [("a", 1), ("a", 1)], b"xy"),
    ],
    ids=["too many bytes", "too few", "no text", "a value of the same name", "two of one name"],
)
async def test_receipt_with_other_texts_than_it_names_is_refused(
    world: World, values: dict[str, Any], texts: list[tuple[str, int]], attached: bytes
) -> None:
    await replica(world)
    operation_id, acknowledged = await reported(world, values, texts, attached)
    assert acknowledged.error is not None
    assert (acknowledged.error.code, acknowledged.error.retry) == ("invalid", False)
    assert "finished" not in await world.kinds(operation_id)


@pytest.mark.parametrize(
    "attached",
    [b"\xff" * LARGE, b"\xed\xa0\x80" * LARGE, "é".encode() * LARGE + b"\xc3"],
    ids=["no text", "half a pair", "cut off"],
)
async def test_attached_text_that_readers_refuse_is_not_shown(world: World, attached: bytes) -> None:
    await replica(world)
    operation_id, acknowledged = await reported(world, {}, [("content", len(attached))], attached)
    assert acknowledged.stored
    assert await shown(world, operation_id) == {"length": 1}


async def test_result_copied_to_the_place_of_another_one_is_not_shown(world: World) -> None:
    await replica(world)
    secret, _ = await reported(world, {}, [("content", len(BODY))], BODY)
    other, _ = await reported(world, {}, [("content", LARGE)], b"x" * LARGE)
    await world.bus.results.put(f"alice.{other}", await stored(world, secret), ttl=60.0)
    assert await shown(world, other) == {"length": 1}


@pytest.mark.parametrize("alone", [True, False])
async def test_output_that_no_reply_can_hold_is_named_by_its_size(world: World, alone: bool) -> None:
    one = await replica(world)
    if not alone:
        await add_one_without_aes(world, one)
    operation_id, acknowledged = await reported(world, {}, [("content", 1_000_000)], b"\1" * 1_000_000)
    assert acknowledged.stored
    assert await shown(world, operation_id) == {"omitted_bytes": 6_000_014}


def test_changed_byte_of_a_stored_value_is_noticed(world: World) -> None:
    hidden = bytearray(world.shared.encrypt_large(b"x" * LARGE))
    for place in (0, 8, 9, 40, 100, len(hidden) - 1):
        changed = bytearray(hidden)
        changed[place] ^= 1
        with pytest.raises(Untrusted):
            world.shared.decrypt(bytes(changed))


@pytest.mark.parametrize(("error", "pause"), [(Forbidden, EVERY_IF_REFUSED), (Unreachable, EVERY)])
async def test_search_for_executors_that_fails_is_told_once_and_a_refused_one_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[WritError], pause: float
) -> None:
    pauses, bus = list[float](), MemoryBus()

    async def failed(*_: object, **__: object) -> list[Message]:
        raise error("no replies")

    async def paused(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(bus, "request_many", failed)
    monkeypatch.setattr("writ_executor.replicas.asyncio.sleep", paused)
    with pytest.raises(asyncio.CancelledError):
        await ExecutorReplicas(bus, time.monotonic).follow()
    assert pauses == [pause] * 3
    assert len(caplog.records) == 1
