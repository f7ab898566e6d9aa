"""Policy's read grant for an early read: only for permitted reads, and only on explicit request."""

from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import LOOK_KEY, RULES, Asking

from writ_contracts.decisions import ReadGrant
from writ_policy.decisions.grants import READ_GRANT_SECONDS
from writ_trust.digests import keyed_digest
from writ_trust.statements import open_signed

APPROVAL = {"name": "asks", "operations": ["service_status"], "requires_approval": True, "allowed": True}
DENIAL = {"name": "denies", "operations": ["service_status"], "allowed": False}


async def decided_grant(asking: Asking, operation: str = "service_status", **changed: Any) -> ReadGrant | None:
    """Return the decision's read grant; by default the question names only key and end."""
    more: dict[str, Any] = {"look_key": LOOK_KEY, "look_until": asking.clock.now + 3600, **changed.pop("ask", {})}
    decided = await asking.decide(structs.replace(asking.subject(operation), **changed), **more)
    assert decided.error is None, decided.error
    return (
        None
        if decided.look is None
        else open_signed(decided.look, ReadGrant, (asking.files.keys["policy"].public,), "")
    )


async def test_early_read_grant_is_for_all_parameters_and_one_minute(asking: Asking) -> None:
    look = await decided_grant(asking)
    assert look is not None
    assert (look.actions, look.operation, look.target.id, look.pool) == (["ahead"], "service_status", "web-a", "a")
    assert look.parameters_digest == keyed_digest(LOOK_KEY, {"service_name": "nginx", "timeout": 10})
    assert look.expires_at == asking.clock.now + READ_GRANT_SECONDS


async def test_early_read_grant_of_a_file_is_for_its_path_and_range(asking: Asking) -> None:
    asking.files.policy(*RULES, {"name": "reads", "operations": ["file_read"], "allowed": True})
    look = await decided_grant(asking, "file_read", parameters={"file_path": "/srv/x", "offset": 5})
    assert look is not None
    assert (look.actions, look.operation) == (["ahead"], "file_read")
    assert look.target.file_roots == ["/srv"]
    read = {"file_path": "/srv/x", "encoding": "utf-8", "offset": 5, "max_bytes": 1024 * 1024, "timeout": 30}
    assert look.parameters_digest == keyed_digest(LOOK_KEY, read)


async def test_early_read_grant_is_given_only_on_request(asking: Asking) -> None:
    assert await decided_grant(asking, ask={"look_until": None}) is None
    assert await decided_grant(asking, ask={"look": ["preview"]}) is None
    assert await decided_grant(asking, "service_restart") is None
    assert await decided_grant(asking, "service_restart", ask={"look": ["ahead"]}) is None
    assert await decided_grant(asking, ask={"look": ["ahead"]}) is None


@pytest.mark.parametrize("rule", [APPROVAL, DENIAL], ids=["needs an approval", "is denied"])
async def test_early_read_grant_is_absent_if_the_request(rule: dict[str, Any], asking: Asking) -> None:
    asking.files.policy(*RULES, rule)
    assert await decided_grant(asking) is None


async def test_early_read_grant_is_absent_from_simulations_and_dry_runs(asking: Asking) -> None:
    assert await decided_grant(asking, simulate=True) is None
    assert await decided_grant(asking, dry_run=True) is None


async def test_early_read_grant_is_absent_if_a_deny_depends_on_unknown_unit_names(asking: Asking) -> None:
    asking.files.policy(*RULES, {**DENIAL, "parameter_constraints": {"service_name": {"pattern": "sshd"}}})
    assert await decided_grant(asking, parameters={"service_name": "ssh"}) is None
    asking.files.policy(*RULES, {**DENIAL, "target_roles": ["production"]})
    assert await decided_grant(asking, parameters={"service_name": "ssh"}) is not None
