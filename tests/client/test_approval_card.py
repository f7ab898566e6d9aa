"""The card of a pending operation shows only signed content, and names the parts that it could not verify."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.contracts.messages import sample

from writ_client.people.approval_card import open_card
from writ_client.people.approvals import Approvals
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.journal import Requested
from writ_contracts.people.approvals import ApprovalCard
from writ_contracts.people.previews import ApprovalFacts, Preview, PreviewDetails
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, encode
from writ_hostops.files.content import FileFacts
from writ_hostops.files.diff import file_diff
from writ_hostops.files.replacement import ExistingFile
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, sign

POLICY, ALICE, MALLORY, AGENT = (Key(generate_seed()) for _ in range(4))
OPERATION, SALT = "a" * 26, "ab" * 32
PARAMETERS: dict[str, Any] = {"service_name": "nginx"}
EFFECTIVE = {**PARAMETERS, "timeout": 60}


def card(  # long: one sample of every signed part
    *,
    hidden: dict[str, Any] | None = None,
    signer: Key = POLICY,
    signed: bool = True,
    signs_reason: bool = True,
    preview: Signed | None = None,
    vouched: dict[str, Any] | None = None,
    decided: dict[str, Any] | None = None,
    **shown: Any,
) -> ApprovalCard:
    """Return the card of a request; `shown` overrides the executor's fields, `decided` those of policy's decision, and
    `hidden` is absent from the journal.
    """
    of: dict[str, Any] = {"principal": "alice", "operation": "service_restart", "target": "web-1"}
    parameters = {**PARAMETERS, **(hidden or {})}
    reason = structs.asdict(sample(Requested))["reason"] if signs_reason else None
    about = {**of, "parameters_digest": keyed_digest(SALT, parameters), "idempotency_key": "k", "reason": reason}
    statement = sign(ALICE, structs.replace(sample(RequestStatement), **about))
    made = structs.replace(
        sample(Decision),
        **of,
        operation_id=OPERATION,
        effect="require_approval",
        acts_for=None,
        dry_run=False,
        statement_digest=digest(statement) if signed else None,
        public_digest=hashlib.sha256(canonical(EFFECTIVE)).hexdigest(),
    )
    decision = structs.replace(made, **(decided or {}))
    requested = structs.replace(
        sample(Requested),
        **of,
        operation_id=OPERATION,
        acts_for=None,
        dry_run=False,
        parameters=PARAMETERS,
        effective=EFFECTIVE,
        hidden=list(hidden or {}),
        decision=sign(signer, decision),
        statement=statement if signed else None,
        salt=SALT,
    )
    data = encode(structs.replace(requested, **shown))
    return ApprovalCard(
        principal="alice",
        requested=data,
        state="awaiting_approval",
        until=1.0,
        preview=preview,
        facts=facts(data, preview, **(vouched or {})),
    )


def facts(data: bytes, shown: Signed | None, **changed: Any) -> Signed:
    made = ApprovalFacts(
        operation_id=OPERATION,
        reader="bob",
        requested=hashlib.sha256(data).hexdigest(),
        issued_at=1.0,
        preview=digest(shown) if shown else None,
        preview_key=AGENT.public,
        previews=shown is not None,
    )
    return sign(POLICY, structs.replace(made, **changed))


def preview(*, by: Key = AGENT, **changed: Any) -> Signed:
    body = Preview(
        operation_id=OPERATION,
        operation="service_restart",
        target="web-1",
        pool="local-web-1",
        instance="one",
        look_digest="ab" * 32,
        taken_at=1.0,
        shown={"would": "restart nginx"},
    )
    return sign(by, structs.replace(body, **changed))


def test_approval_card_is_verified_completely() -> None:
    shown = card()
    opened = open_card(shown, [POLICY.public])
    assert opened.digest == hashlib.sha256(shown.requested).hexdigest()
    assert (opened.unverified, opened.refusals) == ([], [])
    assert opened.sentence == "alice requests service_restart on web-1"


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "web-2"},
        {"operation": "service_stop"},
        {"principal": "bob"},
        {"operation_id": "b" * 26},
        {"acts_for": "bob"},
        {"effective": {**EFFECTIVE, "service_name": "sshd"}},
        {"parameters": {"service_name": "sshd"}},
    ],
)
def test_approval_card_refuses_another_request_than_the_signed_one(changed: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        open_card(card(**changed), [POLICY.public])


def test_card_of_a_decision_without_approvals_names_its_parameters_as_unverified() -> None:
    """Policy signs the digest of the public parameters only where it demands approvals."""
    allowed: dict[str, Any] = {"effect": "allow", "demands": [], "public_digest": None}
    opened = open_card(card(decided=allowed), [POLICY.public])
    assert opened.requested.effective == EFFECTIVE
    assert opened.unverified == ["the parameters with defaults: policy signs them only where it demands an approval"]
    with pytest.raises(Untrusted, match="in target"):
        open_card(card(decided=allowed, target="web-2"), [POLICY.public])


def test_demanded_approvals_without_a_digest_of_parameters_are_refused() -> None:
    with pytest.raises(Untrusted, match="in effective parameters"):
        open_card(card(decided={"public_digest": None}), [POLICY.public])


def test_a_decision_that_policy_did_not_sign_is_refused() -> None:
    with pytest.raises(Untrusted):
        open_card(card(signer=MALLORY), [POLICY.public])


def test_card_names_the_parts_that_it_could_not_verify() -> None:
    assert open_card(card(), []).unverified == ["policy's signature: its public key is not known here"]


@pytest.mark.parametrize(
    ("authenticated", "named"),
    [
        ("server", "only the NATS server identified the requester, by its key, and policy recorded it"),
        ("gateway", "only the gateway identified the requester, by a token, and policy recorded it"),
        ("newer", "only something newer than this program identified the requester, and policy recorded it"),
    ],
)
def test_card_of_an_unsigned_request_names_who_identified_its_requester(authenticated: str, named: str) -> None:
    shown = card(signed=False, decided={"authenticated": authenticated})
    assert open_card(shown, [POLICY.public]).unverified == [f"the requester's signature: {named}"]


def test_hidden_parameters_forbid_an_approval_unless_the_requesters_own_are_given() -> None:
    shown = card(hidden={"content": "x"})
    assert open_card(shown, [POLICY.public]).refusals
    assert open_card(shown, [POLICY.public], {"content": "x"}).refusals == []
    with pytest.raises(Untrusted, match="other parameters"):
        open_card(shown, [POLICY.public], {"content": "y"})


def test_values_of_hidden_parameters_prove_nothing_where_the_requester_signed_nothing() -> None:
    """The requester could give the approver other content than the request has."""
    opened = open_card(card(hidden={"content": "x"}, signed=False), [POLICY.public], {"content": "harmless"})
    assert opened.refusals == ["content is hidden, and the requester did not sign it"]


def test_an_audit_level_without_values_leaves_the_requesters_signature_to_approve_by() -> None:
    least: dict[str, Any] = {"parameters": {}, "effective": {}}
    shown = card(hidden=PARAMETERS, **least)
    assert open_card(shown, [POLICY.public]).refusals
    assert open_card(shown, [POLICY.public], PARAMETERS).refusals == []
    with pytest.raises(Untrusted, match="other parameters"):
        open_card(card(**least), [POLICY.public])
    assert open_card(card(signed=False, **least), [POLICY.public]).refusals


def test_effective_value_that_policy_signed_is_seen_although_the_journal_lacks_it_as_sent() -> None:
    """At audit level minimal the reads before a change need its values, so the journal has them as effective ones."""
    for signed in (True, False):
        opened = open_card(card(hidden=PARAMETERS, signed=signed, parameters={}), [POLICY.public])
        assert (opened.unseen, opened.refusals) == ([], [])
    secret = card(hidden={**PARAMETERS, "content": "x"}, parameters={})
    assert open_card(secret, [POLICY.public]).unseen == ["content"]
    assert open_card(secret, [POLICY.public]).refusals[0].startswith("content is hidden")
    assert open_card(secret, [POLICY.public], {"content": "x"}).refusals == []
    with pytest.raises(Untrusted, match="other parameters"):
        open_card(secret, [POLICY.public], {"content": "y"})
    with pytest.raises(Untrusted, match="in effective parameters"):
        open_card(card(hidden=PARAMETERS, parameters={}, effective={"service_name": "sshd"}), [POLICY.public])


DIFF = PreviewDetails(salt="cd" * 32, values={"diff": "+new"})
COMMITTED = keyed_digest(DIFF.salt, DIFF.values)


def test_a_signed_preview_is_shown_and_its_diff_stands_for_hidden_parameters() -> None:
    shown = card(hidden={"content": "x"}, preview=preview(details_digest=COMMITTED))
    opened = open_card(shown, [POLICY.public], details=DIFF)
    assert opened.preview is not None
    assert opened.preview.body.shown == {"would": "restart nginx"}
    assert (opened.unverified, opened.refusals) == ([], [])


def test_binary_content_is_not_shown_by_a_diff_and_needs_the_value_of_the_requester(tmp_path: Path) -> None:
    """One zero byte at the end of a script makes it binary, and a shell runs it all the same."""
    (tmp_path / "a").write_bytes(b"ok\n")
    with (tmp_path / "a").open("rb") as file:
        old = ExistingFile(file.fileno(), os.fstat(file.fileno()), FileFacts("", 3, 0o644, ""), "")
        for old_file, quotes in ((None, True), (old, True), (old, False)):
            made = file_diff("/srv/a", old_file, b"#!/bin/sh\nrm -rf /srv/*\n\0", quotes)
            details = PreviewDetails(salt="cd" * 32, values=made)
            committed = preview(details_digest=keyed_digest(details.salt, details.values))
            shown = card(hidden={"content": "x"}, preview=committed)
            refusals = open_card(shown, [POLICY.public], details=details).refusals
            assert refusals == ["content is hidden: reject it, or approve it with the values that the requester gives"]
            assert open_card(shown, [POLICY.public], {"content": "x"}, details=details).refusals == []
            unsigned = open_card(card(hidden={"content": "x"}, signed=False, preview=committed), [POLICY.public])
            assert unsigned.refusals


def test_a_preview_without_a_diff_does_not_show_what_the_journal_must_not_have() -> None:
    """The command of a container is secret: its preview has no command, so an approver could not know it."""
    values = {"command": ["curl", "evil"]}
    shown = card(hidden=values, preview=preview(shown={"body": {"Image": "nginx", "Env": ["NAME"]}}))
    assert open_card(shown, [POLICY.public]).refusals == [
        "command is hidden: reject it, or approve it with the values that the requester gives"
    ]
    assert open_card(shown, [POLICY.public], values).refusals == []
    unsigned = card(hidden=values, signed=False, preview=preview())
    assert open_card(unsigned, [POLICY.public]).refusals == ["command is hidden, and the requester did not sign it"]


def test_a_missing_or_incomplete_preview_permits_a_rejection_only() -> None:
    missing = open_card(card(vouched={"previews": True}), [POLICY.public])
    assert missing.refusals == ["there is no preview by the target's agent yet"]
    cut = open_card(card(preview=preview(complete=False, note="too large to show")), [POLICY.public])
    assert cut.refusals == ["the preview is incomplete: too large to show"]
    unread = open_card(card(preview=preview(details_digest=COMMITTED)), [POLICY.public])
    assert unread.refusals == ["the details of the preview cannot be read"]
    unvouched = structs.replace(card(), facts=None)
    assert open_card(unvouched, [POLICY.public]).refusals == ["policy signed no facts about its preview"]


def test_details_are_those_that_the_agent_committed_to() -> None:
    shown = card(preview=preview(details_digest=COMMITTED))
    opened = open_card(shown, [POLICY.public], details=DIFF)
    assert opened.preview is not None
    assert (opened.preview.diff, opened.refusals) == ("+new", [])
    with pytest.raises(Untrusted, match="details"):
        open_card(shown, [POLICY.public], details=structs.replace(DIFF, values={"diff": "+other"}))


@pytest.mark.parametrize(
    ("made", "vouched"),
    [
        (preview(by=MALLORY), {}),  # policy vouches for another key
        (preview(operation_id="b" * 26), {}),
        (preview(), {"operation_id": "b" * 26}),
        (preview(), {"requested": "0" * 64}),
    ],
)
def test_a_preview_or_facts_of_something_else_are_refused(made: Signed, vouched: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        open_card(card(preview=made, vouched=vouched), [POLICY.public])


def test_a_preview_that_policy_does_not_vouch_for_is_not_shown() -> None:
    shown = card(preview=preview(), vouched={"preview": None})
    opened = open_card(shown, [POLICY.public])
    assert opened.preview is None
    assert opened.unverified == ["the preview: policy does not vouch for the agent that signed it"]
    assert opened.refusals


def test_a_reason_that_the_requester_did_not_sign_is_marked_and_another_one_refused() -> None:
    assert open_card(card(), [POLICY.public]).reason_is_signed
    with pytest.raises(Untrusted, match="signed another reason"):
        open_card(card(reason="please approve"), [POLICY.public])
    unsigned = open_card(card(signs_reason=False), [POLICY.public])
    assert not unsigned.reason_is_signed
    assert "the reason: the requester did not sign it" in unsigned.unverified
    assert not open_card(card(signed=False), [POLICY.public]).reason_is_signed


async def test_a_verdict_whose_reason_is_too_long_to_record_is_not_sent() -> None:
    person = Approvals(MemoryBus(), ALICE, "lead", clock=lambda: 0.0)  # nobody serves: what is sent fails otherwise
    opened = open_card(card(), [POLICY.public])
    with pytest.raises(Invalid, match="the reason has 1,001 characters, and 1,000 at most are recorded"):
        await person.reject(opened, reason="x" * 1001)
