"""Second decisions on what an emergency permitted after a restore from a backup."""

from pathlib import Path

from tests.policy.publishing import document, publish, publishable
from tests.policy.replica import KEY
from tests.policy.second_decisions import allowed, checked

RESTORED = {"backup": "b", "made_at": 1.0, "restored_at": 2.0, "last": 1}
URGENT = {"name": "urgent", "operations": ["service_restart"], "allowed": True}
DECLARES = {"name": "declares", "operations": ["emergency_declare"], "allowed": True}


async def test_emergency_counts_after_a_restore_as_the_release_of_that_time_counted_it(tmp_path: Path) -> None:
    async with publishable(tmp_path) as asking:
        at = await publish(asking, document(DECLARES, emergency_policies=[URGENT]))
        body = {"scope": ["web-*"], "reason": "it burns", "until": asking.clock.now + 600}
        declared = asking.signed(asking.subject("emergency_declare", "writ", parameters=body))
        answer = await asking.decide(declared, control_sequence=at)
        named = {"operation_id": declared.operation_id, "parameters_key": KEY, "id": declared.operation_id}
        await asking.control("emergency_declare", answer.effective, answer.decision, **named)
        for more, result in (({}, "same"), ({"ends_access": True}, "differs")):
            at = await asking.control("journal_restored", {**RESTORED, **more})
            found = await checked(asking, tmp_path, asking.subject(), allowed, control_sequence=at)
            assert found.result == result, found
