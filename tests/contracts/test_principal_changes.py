"""Changes of principals apply in their order, keep the relations of principals, and decide the remaining access."""

import pytest

from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Principal
from writ_contracts.people.principal_changes import changed, entry_version, is_active, principals_in_force

KEYS = {name: "U" + name.upper() + "A" * (55 - len(name)) for name in ("alice", "bob", "copilot", "next")}
ALICE = Principal(id="alice", kind="human", key=KEYS["alice"], roles=["admin"])
BOB = Principal(id="bob", kind="human", key=KEYS["bob"])
COPILOT = Principal(id="copilot", kind="agent", key=KEYS["copilot"], acts_for="alice")
FILE = (ALICE, BOB, COPILOT)


def change(action: str, of: Principal, **values: object) -> PrincipalManage:
    fields = {"action": action, "principal_id": of.id, "replaces": entry_version(of), **values}
    return PrincipalManage(**fields)  # type: ignore[arg-type]


def test_changes_apply_in_their_order() -> None:
    changes = [
        change("disable", BOB),
        change("set_roles", BOB, roles=["auditor"]),
        change("rotate", BOB, key=KEYS["next"]),
    ]
    found = principals_in_force(FILE, changes)["bob"]
    assert (found.disabled, found.roles, found.key) == (True, ["auditor"], KEYS["next"])
    assert principals_in_force(FILE, [*changes, change("enable", BOB)])["bob"].disabled is False


def test_edit_of_the_file_undoes_a_removal_only_by_a_new_key_or_revision() -> None:
    removal = [change("remove", BOB)]
    assert "bob" not in principals_in_force(FILE, removal)
    edited = Principal(id="bob", kind="human", key=BOB.key, roles=["admin"])
    assert "bob" not in principals_in_force((ALICE, edited), removal)
    for again in (
        Principal(id="bob", kind="human", key=KEYS["next"]),
        Principal(id="bob", kind="human", key=BOB.key, revision=1),
    ):
        assert principals_in_force((ALICE, again), removal)["bob"] == again


def test_added_principal_counts_until_the_file_has_an_entry_of_its_name() -> None:
    added = PrincipalManage(action="add", principal_id="eve", kind="human", key=KEYS["next"], roles=["dev"])
    assert principals_in_force(FILE, [added])["eve"].roles == ["dev"]
    own = Principal(id="eve", kind="human", key="U" + "B" * 55)
    assert principals_in_force((*FILE, own), [added])["eve"] == own


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (PrincipalManage(action="remove", principal_id="nobody"), "no principal"),
        (PrincipalManage(action="add", principal_id="bob", kind="human", key=KEYS["next"]), "already"),
        (change("rotate", BOB, key=KEYS["alice"]), "that of alice"),
        (change("remove", ALICE), "copilot acts for alice"),
        (change("set_acts_for", BOB, acts_for="alice"), "cannot act for"),
        (change("set_acts_for", COPILOT, acts_for="copilot"), "cannot act for"),
        (change("set_acts_for", COPILOT, acts_for="alcie"), "no principal 'alcie' for which copilot could act"),
        (
            PrincipalManage(action="add", principal_id="x", kind="human", key=KEYS["next"], person="copilot"),
            "not the id of a person",
        ),
    ],
)
def test_changes_that_break_a_relation_are_refused_and_change_nothing(wrong: PrincipalManage, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        changed({one.id: one for one in FILE}, wrong)
    assert principals_in_force(FILE, [wrong]) == {one.id: one for one in FILE}


def test_agents_of_a_disabled_human_have_no_access() -> None:
    found = principals_in_force(FILE, [change("disable", ALICE)])
    assert [one.id for one in found.values() if is_active(one, found)] == ["bob"]


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "add", "kind": "human"},
        {"action": "rotate"},
        {"action": "set_roles"},
        {"action": "disable", "roles": ["admin"]},
        {"action": "remove", "key": KEYS["next"]},
    ],
)
def test_action_takes_exactly_its_own_values(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs|takes no"):
        PrincipalManage(principal_id="bob", **fields)  # type: ignore[arg-type]
