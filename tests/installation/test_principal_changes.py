"""Changes of principals beside the files: the valid ones of the journal, and edits of the folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.decisions import Decision, PolicyVersion
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.installation.known_changes import KnownChanges, VerifiedChange
from writ_contracts.journal import ControlEvent
from writ_contracts.people.principal_changes import entry_version
from writ_contracts.wire import decode, encode
from writ_documents.readers import read_agents, read_principals
from writ_installation.administration.principals import add_principal, change_principal, rotate_principal
from writ_installation.files import list_edits
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import (
    admitted_principals,
    keep_changes,
    known_changes,
    principals_of,
    taken_in,
)
from writ_installation.nats.server import plan
from writ_installation.server_access.server_address import ServerAddress
from writ_trust.digests import keyed_digest, of_all
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read, sign

HERE = "a-b-c-d"
POLICY, KEY = Key(generate_seed(), HERE), "ab" * 32
CHANGE: dict[str, Any] = {"action": "disable", "principal_id": "bob", "replaces": "x.0", "timeout": 30}


def record(sequence: int = 1, *, by: Key = POLICY, decided: dict[str, Any] | None = None, **changed: Any) -> Record:
    version = PolicyVersion(
        name="p", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64
    )
    decision = Decision(
        **{
            "operation_id": "a" * 26,
            "principal": "alice",
            "operation": "principal_manage",
            "target": "writ",
            "effect": "allow",
            "code": "allowed",
            "rules": [],
            "reason": "",
            "parameters_digest": keyed_digest(KEY, CHANGE),
            "policy": version,
            "control_sequence": 0,
            "at": 1.0,
            "authenticated": "signature",
            **changed,
        }
    )
    event = ControlEvent(
        id="a" * 26,
        at=1.0,
        correlation_id="c",
        kind="principal_manage",
        principal="alice",
        operation_id="a" * 26,
        body=decided or CHANGE,
        decision=sign(by, decision),
        parameters_key=KEY,
    )
    return Record(
        subject="writ.journal.control.principal_manage", sequence=sequence, data=encode(event), headers={}, time=1.0
    )


def test_a_change_counts_once_with_policys_decision_on_exactly_it() -> None:
    known = taken_in(KnownChanges(), [record(3), record(7)], {POLICY.public: 9}, HERE)
    assert [one.change.principal_id for one in known.changes] == ["bob"]


def test_a_change_stays_in_force_while_the_journal_has_it() -> None:
    """After a change of policy's key the event cannot be verified again; a journal from an older backup may lack it."""
    known = taken_in(KnownChanges(), [record(3)], {POLICY.public: 9}, HERE)
    later = Key(generate_seed()).public
    assert taken_in(known, [record(3)], {later: 9}, HERE) == known
    assert taken_in(known, [], {later: 9}, HERE) == KnownChanges()


def test_control_event_of_another_kind_changes_nothing_on_file() -> None:
    """Each change of the file has NATS and all streams set up again."""
    stop = msgspec.structs.replace(record(7, operation="stop_set"), subject="writ.journal.control.stop_set")
    for before in ([], [record(3)]):
        known = taken_in(KnownChanges(), before, {POLICY.public: 9}, HERE)
        assert taken_in(known, [*before, stop], {POLICY.public: 9}, HERE) == known


@pytest.mark.parametrize(
    "forged",
    [
        record(by=Key(generate_seed(), HERE)),
        record(by=Key(POLICY.seed, "another")),
        record(decided={**CHANGE, "principal_id": "alice"}),
        record(effect="require_approval"),
        record(authenticated="server"),
        record(operation="stop_set"),
        record(principal="mallory"),
        record(dry_run=True),
    ],
    ids=["key", "installation", "parameters", "effect", "signature", "operation", "principal", "dry run"],
)
def test_a_forged_change_does_not_count(forged: Record) -> None:
    assert taken_in(KnownChanges(), [forged], {POLICY.public: 9}, HERE).changes == []


def of(sequence: int, number: str, action: str) -> Record:
    """Return the record of a change of bob's state by the operation with that number."""
    body = {**CHANGE, "action": action}
    made = record(sequence, operation_id=number * 26, parameters_digest=keyed_digest(KEY, body), decided=body)
    event = msgspec.structs.replace(decode(made.data, ControlEvent), operation_id=number * 26)
    return msgspec.structs.replace(made, data=encode(event))


def copy(one: Record, sequence: int, of_sequence: int) -> Record:
    return msgspec.structs.replace(one, sequence=sequence, headers={CARRIED_FROM: str(of_sequence)}, time=9e9)


def archive(sequence: int, last: int, *control: Record) -> Record:
    body = {**dict.fromkeys(("generation", "first", "events"), 1), "last": last, "digest": "0" * 64, "timeout": 9}
    body = {**body, "reason": "full", "control": of_all(one.data for one in control)}
    made = record(sequence, operation="journal_archive", parameters_digest=keyed_digest(KEY, body), decided=body)
    event = msgspec.structs.replace(decode(made.data, ControlEvent), kind="journal_archive")
    return msgspec.structs.replace(made, subject="writ.journal.control.journal_archive", data=encode(event))


def actions(known: KnownChanges) -> list[str]:
    return [one.change.action for one in known.changes]


def test_forged_copy_does_not_reorder_changes() -> None:
    enabled, disabled = of(3, "a", "enable"), of(5, "b", "disable")
    known = taken_in(KnownChanges(), [enabled, disabled], {POLICY.public: 99}, HERE)
    for found in (known, KnownChanges()):
        forged = taken_in(found, [enabled, disabled, copy(disabled, 7, 2)], {POLICY.public: 99}, HERE)
        assert actions(forged) == ["enable", "disable"]


def test_copied_change_without_its_original_is_ignored() -> None:
    """A copy of a withheld decision: a copy has no time of storage, so it cannot be late."""
    late, true = copy(of(3, "a", "enable"), 7, 3), of(8, "b", "disable")
    assert actions(taken_in(KnownChanges(), [late, true], {POLICY.public: 99}, HERE)) == ["disable"]


def test_copies_that_the_last_archive_names_count_in_their_first_order_by_the_key_of_then() -> None:
    enabled, disabled = of(3, "a", "enable"), of(5, "b", "disable")
    copies = [copy(disabled, 11, 5), copy(enabled, 12, 3)]
    named = archive(13, 5, enabled, disabled)
    assert actions(taken_in(KnownChanges(), [*copies, named], {POLICY.public: 99}, HERE)) == ["enable", "disable"]
    later = Key(generate_seed(), HERE)
    signed = msgspec.structs.replace(named, data=archived_by(later, named))
    keys = {POLICY.public: 6, later.public: 99}
    assert actions(taken_in(KnownChanges(), [*copies, signed], keys, HERE)) == ["enable", "disable"]
    assert actions(taken_in(KnownChanges(), [*copies, archive(13, 5, disabled)], keys, HERE)) == []


def archived_by(key: Key, named: Record) -> bytes:
    event = decode(named.data, ControlEvent)
    assert event.decision is not None
    return encode(msgspec.structs.replace(event, decision=sign(key, read(event.decision, Decision))))


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make_folders()
    create_installation(home)
    await add_principal(home, "bob", "human", ["dev"], None)
    await add_principal(home, "helper", "agent", [], "bob")
    return home


def by_operation(home: Home, action: str, name: str, **values: Any) -> None:
    listed = {one.id: one for one in read_principals(home.principals).principals}
    change = PrincipalManage(
        **{"action": action, "principal_id": name, "replaces": entry_version(listed.get(name)), **values}
    )
    known = known_changes(home)
    keep_changes(home, KnownChanges(changes=[*known.changes, VerifiedChange(operation_id="a" * 26, change=change)]))


def admitted(home: Home) -> list[str]:
    return [one.id for one in admitted_principals(home, ())]


async def test_disabled_principal_and_its_agents_have_no_access(home: Home) -> None:
    by_operation(home, "disable", "bob")
    assert admitted(home) == ["operator"]
    text = home.principals.read_text()
    home.principals.write_text(text + "\n# an edit of something else\n")
    assert admitted(home) == ["operator"]
    change_principal(home, PrincipalManage(action="enable", principal_id="bob"))
    assert admitted(home) == ["operator", "bob", "helper"]
    assert "# The principals" in home.principals.read_text()


async def test_principal_removed_by_an_operation_is_added_again_with_another_key(home: Home) -> None:
    before = principals_of(home)["helper"].key
    by_operation(home, "remove", "helper")
    assert admitted(home) == ["operator", "bob"]
    added = await add_principal(home, "helper", "agent", [], "bob")
    assert added.principal.key != before
    assert admitted(home) == ["operator", "bob", "helper"]


async def test_principal_added_by_an_operation_is_changed_here_and_not_removed(home: Home) -> None:
    key = Key(generate_seed()).public
    by_operation(home, "add", "eve", kind="human", key=key, roles=["dev"])
    change_principal(home, PrincipalManage(action="disable", principal_id="eve"))
    assert "eve" not in admitted(home)
    with pytest.raises(Invalid, match="--request"):
        change_principal(home, PrincipalManage(action="remove", principal_id="eve"))


async def test_a_rotated_key_is_the_one_in_the_folder_and_a_removed_principals_is_gone(home: Home) -> None:
    before = principals_of(home)["bob"].key
    after = rotate_principal(home, "bob")
    assert after is not None
    assert before != after.key == home.key("principal-bob").public == principals_of(home)["bob"].key
    change_principal(home, PrincipalManage(action="remove", principal_id="helper"))
    assert not home.seed_file("principal-helper").exists()
    assert admitted(home) == ["operator", "bob"]


@pytest.mark.parametrize("moment", ["principal.key_kept", "principal.key_listed"])
def test_interrupted_rotation_of_a_principals_key_loses_no_key_and_is_completed(home: Home, moment: str) -> None:
    """The new key was listed before it was on disk: after a kill in between nobody had it."""
    environ = {**os.environ, "WRIT_HOME": str(home.root), "WRIT_FAULT": moment}
    rotate = [sys.executable, "-m", "writ_cli", "principal", "rotate", "bob"]
    assert subprocess.run(rotate, env=environ, timeout=60, check=False).returncode == -signal.SIGKILL
    listed = principals_of(home)["bob"].key
    kept = [Key(path.read_bytes()).public for path in home.keys.glob("principal-bob*.seed")]
    assert listed in kept
    rotated = rotate_principal(home, "bob")
    assert rotated is not None
    assert rotated.key == home.key("principal-bob").public == principals_of(home)["bob"].key
    assert [path.name for path in home.keys.glob("principal-bob*")] == ["principal-bob.seed"]
    assert (rotated.key == listed) == (moment == "principal.key_listed")


def test_rotation_that_is_interrupted_once_its_key_is_listed_keeps_the_private_half(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = list_edits.replace

    def interrupted(*words: Any, **named: Any) -> None:
        replace(*words, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(list_edits, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rotate_principal(home, "bob")
    listed = principals_of(home)["bob"].key
    rotate_principal(home, "bob")
    assert listed == home.key("principal-bob").public == principals_of(home)["bob"].key


async def test_a_key_of_another_party_gives_a_principal_no_access_and_breaks_nothing(home: Home) -> None:
    key = principals_of(home)["bob"].key
    assert [one.id for one in admitted_principals(home, [key])] == ["operator", "helper"]


@pytest.mark.parametrize("party", ["bootstrap", "sys", "status", "policy", "executor", "audit", "keeper"])
async def test_key_of_a_service_is_ignored_as_a_principals_key(home: Home, party: str) -> None:
    """These keys are public, and NATS refuses a configuration with the same key twice."""
    by_operation(home, "add", "eve", kind="human", key=home.public(party), roles=["dev"])
    planned = plan(home, ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222))
    assert planned.principals.keys() == {"operator", "bob", "helper"}


async def test_a_damaged_file_of_changes_is_no_empty_one(home: Home) -> None:
    home.principal_changes.write_text("{")
    with pytest.raises(ConfigError, match="principal-changes"):
        admitted(home)


def test_a_principal_whose_keys_check_sum_is_wrong_keeps_nobody_else_out(home: Home) -> None:
    """NATS refuses a configuration with such a key, so no later change would reach it."""
    text = home.principals.read_text()
    key = read_principals(home.principals).principals[0].key
    other = key[:-1] + ("A" if key[-1] != "A" else "B")
    home.principals.write_text(f"{text}- {{id: typo, kind: human, key: {other}}}\n")
    assert "typo" in principals_of(home)
    assert admitted(home) == ["operator", "bob", "helper"]


def test_an_agents_key_whose_check_sum_is_wrong_keeps_nobody_else_out(home: Home) -> None:
    agent = read_agents(home.agents).agents[0]
    other = agent.key[:-1] + ("A" if agent.key[-1] != "A" else "B")
    home.agents.write_text(f"{home.agents.read_text().rstrip()}\n- {{pool: {agent.pool}, key: {other}}}\n")
    made = plan(home, ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222))
    assert made.pools[agent.pool] == [agent.key]
