"""The key of an MCP gateway: for which principals it counts, and for which operations it does not."""

from pathlib import Path
from typing import Any

import pytest
from tests.policy.replica import Asking, Files, files

from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_documents.readers import read_principals
from writ_trust.keys import Key, generate_seed

GATEWAY, BOT, OTHER = (Key(generate_seed()) for _ in range(3))


def people(made: Files, *more: dict[str, Any]) -> None:
    """Write the principals with a gateway, and `bot` of it."""
    entries = yaml_file.read(made.path("principals")).data["principals"]
    ours = [
        {"id": "mcp", "kind": "gateway", "key": GATEWAY.public},
        {"id": "bot", "kind": "agent", "acts_for": "alice", "roles": ["operator"], "via": "mcp", "key": BOT.public},
    ]
    made.write("principals", {"principals": [*entries, *ours, *more]})


@pytest.fixture(autouse=True)
def served(request: pytest.FixtureRequest) -> None:
    if "asking" in request.fixturenames:
        asking: Asking = request.getfixturevalue("asking")
        people(asking.files)
        asking.files.keys["bot"] = Key(BOT.seed, asking.files.installation)


async def test_a_gateways_key_counts_for_the_principals_that_name_it_alone(asking: Asking) -> None:
    decision = await asking.decision(asking.subject(principal="bot", key=GATEWAY.public))
    assert (decision.effect, decision.authenticated, decision.acts_for) == ("allow", "gateway", "alice")
    assert (await asking.decision(asking.subject(principal="bot"))).authenticated == "server"
    for other in ("alice", "copilot"):
        assert await asking.code(asking.subject(principal=other, key=GATEWAY.public)) == "key_mismatch"
    assert await asking.code(asking.subject(principal="mcp", key=GATEWAY.public)) == "unknown_principal"
    assert await asking.code(asking.subject(principal="bot", key=OTHER.public)) == "key_mismatch"


async def test_risk_admin_needs_a_signature_that_a_gateway_does_not_have(asking: Asking) -> None:
    gone = asking.subject("file_delete", principal="bot", key=GATEWAY.public, parameters={"file_path": "/srv/x"})
    assert await asking.code(gone) == "signature_required"
    signed = asking.signed(asking.subject(principal="bot", key=GATEWAY.public))
    assert (await asking.decision(signed)).authenticated == "signature"


async def test_operation_for_people_is_denied_to_a_gateway_even_with_a_signature(asking: Asking) -> None:
    stop = asking.subject("stop_set", "writ", principal="bot", parameters={"scope": ["web-a"], "reason": "x"})
    own = await asking.decision(asking.signed(stop))
    assert own.effect == "allow"
    by_gateway = asking.subject(
        "stop_set", "writ", principal="bot", key=GATEWAY.public, parameters={"scope": ["web-a"], "reason": "x"}
    )
    assert await asking.code(asking.signed(by_gateway)) == "for_people"


async def test_removed_gateway_loses_its_access(asking: Asking) -> None:
    subject = asking.subject(principal="bot", key=GATEWAY.public)
    assert await asking.code(subject) == "allowed"
    entries = yaml_file.read(asking.files.path("principals")).data["principals"]
    kept = [one for one in entries if one["id"] != "mcp"]
    asking.files.write("principals", {"principals": [{**one, "via": None} for one in kept]})
    assert await asking.code(subject) == "key_mismatch"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": "x", "kind": "agent", "via": "alice"}, "no principal 'alice' of kind gateway"),
        ({"id": "x", "kind": "human", "via": "mcp"}, "no gateway requests for a human"),
        ({"id": "x", "kind": "gateway", "roles": ["operator"]}, "a gateway has no roles"),
        ({"id": "x", "kind": "gateway", "via": "mcp"}, "a gateway has no via"),
    ],
)
def test_a_principal_and_its_gateway_fit_together(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    made = files(tmp_path)
    people(made, {**entry, "key": OTHER.public})
    with pytest.raises(FileErrors, match=message):
        read_principals(made.path("principals"))
