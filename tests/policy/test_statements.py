"""The principal's own signature: demands for it, and its validity."""

from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import Asking

DELETE: dict[str, Any] = {"parameters": {"file_path": "/srv/a"}}


async def test_risk_admin_and_control_operations_need_a_signature(asking: Asking) -> None:
    for subject in (
        asking.subject("file_delete", **DELETE),
        asking.subject("stop_set", "writ", parameters={"reason": "it burns"}),
    ):
        decision = await asking.decision(subject)
        assert (decision.effect, decision.code) == ("deny", "signature_required")
        signed = await asking.decision(asking.signed(subject))
        assert (signed.effect, signed.authenticated) == ("allow", "signature")


async def test_decision_names_how_its_request_was_authenticated(asking: Asking) -> None:
    assert (await asking.decision(asking.signed(asking.subject()))).authenticated == "signature"
    assert (await asking.decision(asking.subject())).authenticated == "server"


async def test_simulation_needs_no_signature_and_is_no_decision(asking: Asking) -> None:
    subject = asking.subject("file_delete", simulate=True, **DELETE)
    for one in (subject, asking.signed(subject)):
        decision = await asking.decision(one)
        assert (decision.code, decision.authenticated) == ("allowed", "nobody")


async def test_cancel_of_an_own_operation_needs_no_signature(asking: Asking) -> None:
    cancel = asking.subject("operation_cancel", "writ", owner="alice", parameters={"operation_id": "a" * 26})
    assert await asking.code(cancel) == "own"


async def test_cancel_of_anothers_operation_needs_a_signature(asking: Asking) -> None:
    asking.files.policy({"name": "cancels", "operations": ["operation_cancel"], "allowed": True})
    cancel = asking.subject("operation_cancel", "writ", owner="bob", parameters={"operation_id": "a" * 26})
    assert await asking.code(cancel) == "signature_required"
    assert await asking.code(asking.signed(cancel)) == "allowed"


@pytest.mark.parametrize(
    "changed",
    [
        {"principal": "bob"},
        {"operation": "file_write"},
        {"target": "web-b"},
        {"idempotency_key": "another"},
        {"dry_run": True},
        {"parameters_digest": "0" * 64},
    ],
)
async def test_a_statement_for_something_else_is_refused(asking: Asking, changed: dict[str, Any]) -> None:
    signed = asking.signed(asking.subject("file_delete", **DELETE), **changed)
    assert await asking.code(signed) == "bad_signature"


async def test_a_statement_of_another_key_is_refused(asking: Asking) -> None:
    for by in ("bob", "stranger", "policy", "agent-a"):
        assert await asking.code(asking.signed(asking.subject("file_delete", **DELETE), by=by)) == "bad_signature"


async def test_a_statement_opens_only_with_its_salt_and_its_parameters(asking: Asking) -> None:
    signed = asking.signed(asking.subject("file_delete", **DELETE))
    for changed in (
        structs.replace(signed, salt=None),
        structs.replace(signed, salt="00" * 32),
        structs.replace(signed, parameters={"file_path": "/srv/b"}),
    ):
        assert await asking.code(changed) == "bad_signature"


async def test_a_statement_is_for_one_operation(asking: Asking) -> None:
    signed = asking.signed(asking.subject("file_delete", **DELETE))
    assert await asking.code(structs.replace(signed, operation_id="b" * 26)) == "bad_signature"


async def test_statement_is_valid_for_five_minutes(asking: Asking) -> None:
    signed = asking.signed(asking.subject("file_delete", **DELETE))
    asking.clock.now += 299
    assert await asking.code(signed) == "allowed"
    asking.clock.now += 2
    assert await asking.code(signed) == "stale_statement"


async def test_the_age_of_a_statement_is_judged_once_where_the_journal_has_the_first_decision(asking: Asking) -> None:
    signed = asking.signed(asking.subject("file_delete", **DELETE))
    recorded = structs.replace(signed, recorded=True)
    assert await asking.code(recorded) == "forged_start"
    await asking.record(signed)
    asking.clock.now += 86_400
    assert await asking.code(signed) == "stale_statement"
    assert await asking.code(recorded) == "allowed"
    assert (await asking.granted_as_recorded(recorded)).grant is not None


async def test_a_statement_from_the_future_is_refused(asking: Asking) -> None:
    signed = asking.signed(asking.subject("file_delete", **DELETE), issued_at=asking.clock.now + 61)
    error = (await asking.decide(signed)).error
    assert error is not None
    assert (error.code, error.message) == (
        "stale_statement",
        "signed 61 s in the future, at most 60: the clock of the requester's machine or of NATS is wrong",
    )


async def test_statement_of_a_real_run_permits_its_dry_run(asking: Asking) -> None:
    signed = asking.signed(asking.subject("file_delete", **DELETE))
    assert await asking.code(structs.replace(signed, dry_run=True)) == "allowed"
