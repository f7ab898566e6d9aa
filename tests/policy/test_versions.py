"""Versions in each replica: accepted and refused ones, at once and after a restart."""

import logging
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.policy.publishing import (
    CLOSED,
    OPEN,
    PUBLISHES,
    announce,
    another,
    broker_of,
    code_after,
    decided,
    document,
    number,
    publish,
    publishable,
    roll_back,
    store,
)
from tests.policy.replica import RULES, Asking, files, replica

from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.errors import ConfigError
from writ_contracts.policy.versions import MAX_DOCUMENT_BYTES, PACKED, PolicyFile, StoredPolicy, packed
from writ_contracts.requests import RequestStatement
from writ_contracts.wire import decode
from writ_documents.document import FileErrors
from writ_policy.state.loading import Compiler
from writ_runtime.health import Attention
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import plain_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read, sign


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as one:
        yield one


async def test_the_file_is_stored_and_signed_before_it_decides(asking: Asking) -> None:
    [record] = await asking.bus.policies.read(subjects.POLICIES)
    stored = decode(record.data, StoredPolicy)
    assert (stored.number, stored.document, stored.origin, stored.author) == (1, OPEN, "file", "file")
    assert stored.file is not None
    signed = read(stored.file, PolicyFile)
    assert (signed.number, signed.previous, signed.digest) == (1, 0, plain_digest(OPEN.encode()))
    decision = await asking.decision(asking.subject())
    assert (decision.policy.number, decision.policy.digest) == (1, signed.digest)


async def test_a_published_version_decides_from_its_control_event_on(asking: Asking) -> None:
    sequence = await publish(asking, CLOSED)
    decision = await asking.decision(asking.subject(), control_sequence=sequence)
    assert (decision.code, decision.policy.number, decision.policy.name) == ("denied", 2, "published")
    granted = await asking.granted(asking.subject(), control_sequence=sequence)
    assert granted.grant is None


async def test_a_version_sent_in_packed_form_decides_by_its_document(asking: Asking) -> None:
    sent = PACKED + b64encode(packed(CLOSED)).decode()
    assert await code_after(asking, await publish(asking, sent)) == "denied"
    assert await code_after(asking, await roll_back(asking, 1)) == "allowed"
    assert await code_after(asking, await roll_back(asking, 2)) == "denied"


async def test_a_rollback_is_a_new_version_that_can_itself_be_rolled_back(asking: Asking) -> None:
    await publish(asking, CLOSED)
    assert await number(asking, control_sequence=await roll_back(asking, 1)) == 3
    assert await asking.code(asking.subject()) == "allowed"
    assert await code_after(asking, await roll_back(asking, 2)) == "denied"
    assert await code_after(asking, await roll_back(asking, 3)) == "allowed"
    assert await number(asking) == 5


Change = Callable[[Asking, StoredPolicy], Awaitable[dict[str, Any]]]


def other(**changed: Any) -> Change:
    async def change(asking: Asking, version: StoredPolicy) -> dict[str, Any]:
        return changed

    return change


def decision_with(by: str, **changed: Any) -> Change:
    async def change(asking: Asking, version: StoredPolicy) -> dict[str, Any]:
        assert version.decision is not None
        made = structs.replace(read(version.decision, Decision), **changed)
        return {"decision": sign(asking.files.keys[by], made)}

    return change


async def of_another_author(asking: Asking, version: StoredPolicy) -> dict[str, Any]:
    """Return bob's own valid signature on alice's permission."""
    assert version.statement is not None
    made = structs.replace(read(version.statement, RequestStatement), principal="bob")
    return {"statement": sign(asking.files.keys["bob"], made), "author": "bob"}


async def by_a_stranger_and_policys_forged_decision(asking: Asking, version: StoredPolicy) -> dict[str, Any]:
    return await decision_with("stranger", principal="mallory")(asking, version) | {"author": "mallory"}


async def under_an_open_key(asking: Asking, version: StoredPolicy) -> dict[str, Any]:
    """Return another document with new digests under the same keys; the signatures cannot be new."""
    return {"packed": packed(OPEN + "\n"), "digest": plain_digest((OPEN + "\n").encode())}


WRONG: dict[str, Change] = {
    "unsigned by its author": other(statement=None),
    "undecided": other(decision=None),
    "another document": other(packed=packed(OPEN)),
    "what is no document": other(packed=b"zlib"),
    "a small one that swells": other(packed=zlib.compress(bytes(MAX_DOCUMENT_BYTES + 1))),
    "passed off as sent in packed form": other(sent_packed=True),
    "two documents": other(packed=packed(OPEN) + packed(OPEN)),
    "another document and its digest": under_an_open_key,
    "another number": other(number=7),
    "no key": other(parameters_key="none"),
    "another key": other(salt="0" * 64),
    "another reason in it": other(effective={"reason": "for fun", "timeout": 30}),
    "passed off as a file": other(origin="file", author="file"),
    "passed off as a rollback": other(origin="rollback", restores=1),
    "another author": of_another_author,
    "an unknown author": by_a_stranger_and_policys_forged_decision,
    "a decision by somebody else": decision_with("stranger"),
    "the decision of a simulation": decision_with("policy", authenticated="nobody"),
    "decided without a signature": decision_with("policy", authenticated="server"),
    "denied: no longer entitled": decision_with("policy", effect="deny"),
    "a dry run": decision_with("policy", dry_run=True),
    "decided for another operation": decision_with("policy", operation="stop_set"),
    "decided long ago": decision_with("policy", at=0.0),
}


@pytest.mark.parametrize("what", WRONG)
async def test_version_that_differs_from_its_signature_is_refused_and_the_last_one_stays(
    asking: Asking, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    version, _ = await decided(asking, "policy_publish", document=CLOSED)
    stored = await store(asking.bus, version, **await WRONG[what](asking, version))
    sequence = await announce(asking, version, stored)
    decision = await asking.decision(asking.subject(), control_sequence=sequence)
    assert (decision.code, decision.policy.number) == ("allowed", 1)
    assert "policy.version_refused" in [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert b'writ_policy_load_errors_total{file="store"} 1.0' in asking.measured.exposition()[0]
    assert "stored version 2 is not valid" in str(await asking.service.checks()["versions"]())
    async with another(broker_of(asking), asking.files) as second:
        assert await number(second) == 1
    later = await publish(asking, CLOSED)
    assert await number(asking, control_sequence=later) == 3, "the next true one does not follow"


async def test_a_version_stored_again_is_no_new_one(asking: Asking) -> None:
    version, _ = await decided(asking, "policy_publish", document=CLOSED)
    await announce(asking, version, await store(asking.bus, version))
    await publish(asking, OPEN)
    again = await announce(asking, version, await store(asking.bus, version))
    assert await code_after(asking, again) == "allowed"
    async with another(broker_of(asking), asking.files) as second:
        assert await number(second) == 3
        assert await second.code(second.subject()) == "allowed"


async def test_an_old_file_stored_again_is_no_new_version(asking: Asking) -> None:
    [first] = await asking.bus.policies.read(subjects.POLICIES)
    asking.files.write("policy", document())
    assert await asking.code(asking.subject()) == "no_rule"
    await store(asking.bus, decode(first.data, StoredPolicy), subject=subjects.POLICY_FILE)
    assert await number(asking, control_sequence=await asking.control("policy_file", {"version": 3})) == 2


async def test_first_of_two_publications_on_the_same_version_counts(asking: Asking) -> None:
    one, _ = await decided(asking, "policy_publish", document=CLOSED)
    two, _ = await decided(asking, "policy_publish", document=document(RULES[1]))
    await announce(asking, one, await store(asking.bus, one))
    sequence = await announce(asking, two, await store(asking.bus, two))
    assert await number(asking, control_sequence=sequence) == 2


async def test_a_key_that_was_rotated_and_a_principal_who_is_gone_leave_old_versions_as_they_were(
    asking: Asking,
) -> None:
    sequence = await publish(asking, CLOSED)
    people = [{"id": "bob", "kind": "human", "roles": ["operator"], "key": Key(generate_seed()).public}]
    asking.files.write("principals", {"principals": people})
    async with another(broker_of(asking), asking.files) as second:
        checks = [await check() for check in second.service.checks().values()]
        assert "not valid" not in str(checks)
        bob = second.subject(principal="bob", key=people[0]["key"])
        assert (await second.decision(bob, control_sequence=sequence)).policy.number == 2


async def test_a_right_that_was_withdrawn_counts_at_the_next_decision(asking: Asking) -> None:
    await publish(asking, document(*RULES, {**PUBLISHES, "name": "not_she", "users": ["alice"], "allowed": False}))
    _, answer = await decided(asking, "policy_publish", document=OPEN)
    assert answer.decision is not None
    assert read(answer.decision, Decision).effect == "deny"


MISSPELT = {
    "name": "misspelt",
    "operations": ["network_test"],
    "allowed": True,
    "parameter_constraints": {"count": {"max": 10}, "cuont": {"max": 5}},
}


async def test_stored_version_with_a_finding_of_a_later_release_starts_decides_and_is_rolled_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A constraint on a parameter of no operation was a warning, or a plugin had the parameter."""
    broker, known, text = Broker(), files(tmp_path), document(*RULES, MISSPELT)
    known.write("policy", OPEN)
    async with another(broker, known, mode="permissive") as earlier:
        assert await code_after(earlier, await publish(earlier, text)) == "allowed"
    caplog.clear()
    async with another(broker, known) as asking:
        assert (await asking.code(asking.subject()), await number(asking)) == ("allowed", 2)
        findings = [vars(one).get("fields", {}).get("finding", "") for one in caplog.records]
        assert any("has the parameter 'cuont', so 'misspelt' allows any value" in one for one in findings)
        _, answer = await decided(asking, "policy_publish", document=text + "\n")
        assert answer.error is not None
        assert "did you mean 'count'?" in answer.error.problems[0].message
        assert await number(asking, control_sequence=await roll_back(asking, 1)) == 3


async def test_stored_version_with_an_operation_that_a_plugin_dropped_starts_and_decides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dropped = {"name": "shelf", "operations": ["shelf_tidy", "network_test"], "allowed": True}
    broker, known, text = Broker(), files(tmp_path), document(*RULES, dropped)
    known.write("policy", OPEN)
    async with another(broker, known, mode="permissive") as earlier:
        assert await code_after(earlier, await publish(earlier, text)) == "allowed"
    caplog.clear()
    async with another(broker, known) as asking:
        assert (await asking.code(asking.subject()), await number(asking)) == ("allowed", 2)
        findings = [vars(one).get("fields", {}).get("finding", "") for one in caplog.records]
        assert any("there is no operation 'shelf_tidy'" in one for one in findings)
        _, answer = await decided(asking, "policy_publish", document=text + "\n")
        assert answer.error is not None
        assert "there is no operation 'shelf_tidy'" in answer.error.problems[0].message
        known.write("policy", text)  # the file is the version
        problem = await asking.service.checks()["versions"]()
        assert isinstance(problem, Attention)
        assert "publish a corrected version: version 2:" in problem
        assert "there is no operation 'shelf_tidy'" in problem
        await number(asking, control_sequence=await roll_back(asking, 1))
        assert await asking.service.checks()["versions"]() is None


@pytest.mark.parametrize("groups", [{}, {"operations": {"g": ["shelf_tidy"]}}])
async def test_stored_version_whose_open_default_may_permit_a_renamed_operation_does_not_start(
    tmp_path: Path, groups: dict[str, Any]
) -> None:
    """Its deny named the operation, and names the new one no more."""
    deny = {"name": "no", "operations": ["group:g" if groups else "shelf_tidy", "file_delete"], "allowed": False}
    broker, known = Broker(), files(tmp_path)
    known.write("policy", OPEN)
    text = document(*RULES, deny, groups=groups, deny_by_default=False)
    async with another(broker, known, mode="permissive") as earlier:
        assert await code_after(earlier, await publish(earlier, text)) == "allowed"
    with pytest.raises(ConfigError, match=r"version 2 of the policy does not load.*there is no operation 'shelf_tidy'"):
        async with another(broker, known):
            pass


async def test_file_with_a_constraint_on_no_parameter_is_refused(tmp_path: Path) -> None:
    known = files(tmp_path)
    known.write("policy", document(*RULES, MISSPELT))
    with pytest.raises(FileErrors, match="did you mean 'count'"):
        async with another(Broker(), known):
            pass


def test_file_is_compared_although_the_same_text_is_a_stored_version(tmp_path: Path) -> None:
    known = files(tmp_path)
    known.write("policy", document(*RULES, MISSPELT))
    compiled, path = Compiler(load_catalogue(), "strict"), known.path("policy")
    compiled(path.read_text(), "version 1")
    assert "did you mean 'count'" in str(compiled.read(path).error)


async def test_a_policy_of_thousands_of_rules_is_a_version_like_others(tmp_path: Path) -> None:
    broker = Broker()
    known = files(tmp_path)
    many = [{**RULES[0], "name": f"rule-{number}", "description": "x" * 200} for number in range(6_000)]
    known.policy(*many)
    async with replica(MemoryBus(broker), MemoryBus(broker), known) as asking:
        record = await asking.bus.policies.last(subjects.POLICIES)
        assert record is not None
        assert len(record.data) < 500_000 < 1_000_000 < len(known.path("policy").read_bytes())
        assert (await asking.decision(asking.subject())).policy.number == 1
