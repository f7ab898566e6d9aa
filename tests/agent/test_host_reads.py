"""An agent reads a host only under a valid read grant, and reads exactly what the grant names."""

import asyncio
import secrets
import time
from typing import Any

import pytest
from msgspec import structs
from tests.agent.conftest import POOL, TARGET, World

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_contracts.agents import Claim, ReadRequest
from writ_contracts.decisions import ReadAction, ReadGrant
from writ_contracts.errors import Invalid, Unreachable, Untrusted
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.journal import Dispatched
from writ_contracts.people.previews import Preview
from writ_runtime.metrics import HandledMessage
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read

KEY = "ab" * 32
OTHER_POOL = Target(id="host-1", role="testing", backend="fake", agent="pool-2")


def ask(world: World, action: ReadAction, allowed: ReadAction | None = None, **changed: Any) -> ReadRequest:
    operation_id = encode_id(secrets.token_bytes(16))
    parameters = {"path": "/x", "delay": 0.0, "timeout": 60}
    target = changed.pop("target", TARGET)
    look = world.executor.read_grant(
        operation_id, "test_count", target, [allowed or action], parameters, KEY, **{"pool": POOL, **changed}
    )
    return ReadRequest(look=look, action=action, parameters=parameters, look_key=KEY)


@pytest.mark.parametrize("action", ["baseline", "preview", "probe"])
async def test_a_valid_read_grant_is_carried_out(action: ReadAction, world: World) -> None:
    await world.agent()
    looked = await world.executor.request_read(ask(world, action), POOL)
    assert looked.error is None
    assert looked.observed
    assert world.backend.looks == [action]
    assert looked.verdict == ("no_effect" if action == "probe" else "unknown")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unreachable("the host is away"), "failed"),
        (TimeoutError(), "failed"),
        (OSError("a defect"), "failed"),
        (asyncio.CancelledError(), "failed"),
        (Invalid("no such unit"), "refused"),
    ],
    ids=["away", "late", "broken", "cancelled", "refused"],
)
async def test_metrics_of_reads_distinguish_failures_from_refusals_as_those_of_services_do(
    error: BaseException, outcome: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: list[HandledMessage] = []
    monkeypatch.setattr("writ_agent.reporting.metrics.Observer", lambda *_: observed.append)

    async def fails(_: Task) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(world.backend, "baseline", fails)
    await world.agent()
    assert (await world.executor.request_read(ask(world, "baseline"), POOL)).error is not None
    assert [one.outcome for one in observed if one.endpoint == "look"] == [outcome]


async def test_a_signed_preview_names_the_parameters_that_policy_decided_on(world: World) -> None:
    await world.agent()
    looked = await world.executor.request_read(ask(world, "preview", previewed="cd" * 32), POOL)
    assert looked.preview is not None
    assert read(looked.preview, Preview).parameters_digest == "cd" * 32


REFUSED: dict[str, dict[str, Any]] = {
    "signed by another key": {"signer": Key(generate_seed())},
    "for another pool": {"pool": "pool-2"},
    "for a target of another pool": {"target": OTHER_POOL},
    "for other parameters": {"parameters_digest": "0" * 64},
    "for another action": {"allowed": "baseline"},
}


@pytest.mark.parametrize("changed", REFUSED.values(), ids=REFUSED.keys())
async def test_read_grant_that_is_invalid_is_refused(changed: dict[str, Any], world: World) -> None:
    await world.agent()
    looked = await world.executor.request_read(ask(world, "preview", **dict(changed)), POOL)
    assert looked.error is not None
    assert looked.error.code == "grant_refused"
    assert world.backend.looks == []
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_look"])


async def test_an_expired_read_grant_is_refused_and_no_attack(world: World) -> None:
    await world.agent()
    looked = await world.executor.request_read(ask(world, "preview", expires_at=time.time() - 1), POOL)
    assert looked.error is not None
    assert looked.error.code == "look_expired"
    assert world.backend.looks == []
    assert world.executor.reports == []


OTHERS = {
    "host_key_changed": "host_key_changed",
    "certificate_changed": "host_key_changed",
    "tailscale_wrong_node": "wrong_peer",
    "tailscale_wrong_tags": "wrong_peer",
    "set_aside": "host_set_aside",
}
"""Codes of hosts that are not the ones that are meant, and the security events that they are."""


@pytest.mark.parametrize(("code", "kind"), OTHERS.items())
async def test_a_preview_of_a_host_that_is_another_one_is_refused_and_reported(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, kind: str
) -> None:
    async def stranger(task: Task) -> dict[str, Any]:
        raise Untrusted("it is another one", code=code)

    monkeypatch.setattr(world.backend, "preview", stranger)
    await world.agent()
    looked = await world.executor.request_read(ask(world, "preview"), POOL)
    assert looked.error is not None
    assert looked.error.code == code
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == [kind])


@pytest.mark.parametrize(("code", "kind"), OTHERS.items())
async def test_an_operation_on_a_host_that_is_another_one_fails_and_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str, kind: str
) -> None:
    async def stranger(task: Task, progress: Progress) -> TaskResult:
        raise Untrusted("it is another one", code=code)

    monkeypatch.setattr(world.backend, "run", stranger)
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", code, "none")
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == [kind])


async def test_bytes_that_are_no_question_get_an_answer(world: World) -> None:
    await world.agent()
    for data in (b"", b"\xff", b"[]", b'{"look":{}}', b"[" * 100_000):
        message = await world.executor.bus.request(f"writ.agent.{POOL}.look", data, timeout=20)
        assert b'"code":"' in message.data


async def test_a_forged_read_grant_for_a_baseline_is_reported_and_nothing_is_read(world: World) -> None:
    await world.agent()
    look_signer = Key(generate_seed())
    original = world.executor.read_grant

    def forged(*parts: Any, **changed: Any) -> Any:
        return original(*parts, **{**changed, "signer": look_signer})

    world.executor.read_grant = forged  # type: ignore[method-assign]
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    receipt = await world.executor.ended(operation_id)
    assert receipt.outcome == "succeeded"
    assert world.backend.looks == []
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_look"])


async def test_a_baseline_is_reported_however_late_the_claim_comes(world: World) -> None:
    """Policy judges a unit by the aliases in its baseline; the executors' sweep ends late operations."""
    original = world.executor.append

    async def late(work: Dispatched) -> None:
        await original(structs.replace(work, start_by=time.time() - 3_600))

    world.executor.append = late  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(operation_id)
    assert world.backend.looks == ["baseline"]
    (signed,) = world.executor.operations[operation_id].claims
    assert read(signed, Claim).baseline


@pytest.mark.parametrize("accepted", [{}, {"writ-example-plugin": ["0" * 64]}])
async def test_a_read_by_another_build_of_a_plugin_is_refused(world: World, accepted: dict[str, list[str]]) -> None:
    await world.agent()
    looked = await world.executor.request_read(ask(world, "preview", plugins=accepted), POOL)
    assert looked.error is not None
    assert looked.error.code == "plugin_mismatch"
    assert "writ-example-plugin" in looked.error.message
    assert world.backend.looks == []
    assert world.executor.reports == []


async def test_repeated_preview_of_a_request_is_one_security_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor tries the preview of a pending request for as long as it waits."""

    async def outside(task: Task) -> dict[str, Any]:
        raise Invalid("not beneath a root", code="outside_roots")

    monkeypatch.setattr(world.backend, "preview", outside)
    await world.agent()
    first, second = ask(world, "preview"), ask(world, "preview")
    for request in (first, first, second):
        looked = await world.executor.request_read(request, POOL)
        assert looked.error is not None
        assert looked.error.code == "outside_roots"
    named = [read(request.look, ReadGrant).operation_id for request in (first, second)]
    await world.executor.until(lambda: set(named) <= {str(one.operation_id) for one in world.executor.reports})
    reported = [(one.kind, str(one.operation_id)) for one in world.executor.reports]
    assert sorted(reported) == sorted(("path_escape", one) for one in named)
