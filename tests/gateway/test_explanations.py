"""An explanation over MCP decides as the request itself would be decided, and says where it would be refused."""

import pytest
from tests.gateway.conftest import call, serving

from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_explanation_and_simulation_give_the_same_decision_on_a_cancel(
    installation: RunningInstallation,
) -> None:
    async with serving(installation) as client, await installation.client() as operator:
        own = await call(
            client, "request_operation", operation_type="test_noop", target_id="web-1", reason="it may be cancelled"
        )
        others = await operator.run("test_noop", "web-1", timeout=20)
        for operation_id, decision in ((own["operation_id"], "allow"), (others.operation_id, "deny")):
            cancel = {"operation_type": "operation_cancel", "target_id": "writ"}
            about = {**cancel, "parameters": {"operation_id": operation_id}}
            for tool in ("simulate_operation", "explain_decision"):
                judged = await call(client, tool, **about)
                assert judged["policy_evaluation"]["decision"] == decision, (tool, judged)


async def test_explanation_says_that_the_request_would_be_refused(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        unsupported = await call(client, "explain_decision", operation_type="guest_list", target_id="web-1")
        stop = {"operation_type": "stop_set", "target_id": "writ", "parameters": {"scope": ["web-1"], "reason": "x"}}
        people = await call(client, "explain_decision", **stop)
        fine = await call(client, "explain_decision", operation_type="test_noop", target_id="web-1")
    assert unsupported["status"] == "error"  # no policy decides on it
    assert people["would_fail"]["code"] == "for_people"
    assert (fine["would_fail"], fine["waiting"]) == (None, "")
