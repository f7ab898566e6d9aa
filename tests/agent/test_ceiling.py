"""The host's ceiling holds whatever policy signs, and risk admin needs the principal's own signature besides."""

import os
import secrets
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from writ_agent.ceiling import NO_CEILING, Ceiling, beyond, read_ceiling
from writ_agent.verification import (
    SecurityRefusal,
    SentClaim,
    VerificationContext,
    VerifiedGrant,
    open_parameters,
    verify_grant,
    verify_test_grant,
)
from writ_contracts.agents import Claim, ClaimReply, ReadRequest, SealedParameters
from writ_contracts.decisions import Grant, ReadGrant
from writ_contracts.errors import ConfigError
from writ_contracts.ids import operation_id
from writ_contracts.inventory import Target
from writ_contracts.journal import Dispatched
from writ_contracts.requests import RequestStatement
from writ_contracts.wire import encode
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.fakes.scripted_executor import VERSION
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.sealing import SealKey, seal
from writ_trust.statements import digest, sign

CATALOGUE = load_catalogue()
HERE = "h" * 26
POLICY, ALICE, MALLORY, AGENT = (Key(generate_seed(), HERE) for _ in range(4))
TARGET = Target(id="web-1", role="development", backend="local", agent="a", file_roots=["/srv/www"])
PATH = {"file_path": "/srv/www/old"}
SALT, NUMBER = "ab" * 32, "key-1"
STATEMENT = RequestStatement(
    principal="alice",
    operation="file_delete",
    target="web-1",
    parameters_digest=keyed_digest(SALT, PATH),
    idempotency_key=NUMBER,
    dry_run=False,
    issued_at=1.0,
)
SIGNED: dict[str, Any] = {"statement": sign(ALICE, STATEMENT), "salt": SALT, "given": PATH}


def dispatched(operation: str, target: Target, seal_to: str) -> tuple[Dispatched, Claim]:
    """Alice's operation, and the agent's claim of it."""
    number = operation_id("alice", NUMBER)
    work = Dispatched(
        id="1",
        at=1.0,
        correlation_id="c",
        operation_id=number,
        principal="alice",
        operation=operation,
        target=target.id,
        pool="a",
        attempt=1,
        parameters={},
        start_by=1.0,
        timeout=10,
    )
    claim = Claim(operation_id=number, attempt=1, pool="a", instance="one", nonce="cd" * 32, seal_to=seal_to)
    return work, claim


def trusting(ceiling: Ceiling) -> VerificationContext:
    """Return the trust settings of an agent of pool `a`."""
    return VerificationContext(
        policy_keys=[POLICY.public],
        installation=HERE,
        pool="a",
        backend="local",
        operations=list(CATALOGUE),
        catalogue=CATALOGUE,
        ceiling=ceiling,
    )


def verified(
    operation: str = "file_delete",
    requested: dict[str, Any] = PATH,
    target: Target = TARGET,
    ceiling: Ceiling = NO_CEILING,
    **inside: Any,
) -> VerifiedGrant:
    """Return the agent's verdict, under this ceiling, on a grant signed by policy."""
    parameters, seal_key, key = CATALOGUE[operation].check(requested), SealKey(), secrets.token_hex(32)
    work, claim = dispatched(operation, target, seal_key.public)
    signed = sign(AGENT, claim)
    grant = Grant(
        operation_id=claim.operation_id,
        operation=operation,
        target=target,
        principal="alice",
        parameters_digest=keyed_digest(key, parameters),
        decision_digest="0" * 64,
        claim_digest=digest(signed),
        policy=VERSION,
        control_sequence=0,
        pool="a",
        instance="one",
        nonce=claim.nonce,
        lifetime=15.0,
        timeout=10,
        granted_at=time.time(),
    )
    sealed = seal(claim.seal_to, encode(SealedParameters(parameters=parameters, parameters_key=key, **inside)))
    trust = trusting(ceiling)
    sent = SentClaim(work=work, claim=claim, signed=signed, seal=seal_key, sent_at=0.0)
    answer = ClaimReply(grant=sign(POLICY, grant), sealed=sealed)
    found = verify_grant(trust, sent, answer, used=(), now=1.0)
    open_parameters(trust, sent, answer, found)
    return found


def refusal(**case: Any) -> str:
    with pytest.raises(SecurityRefusal) as refused:
        verified(**case)
    return f"{refused.value.kind}: {refused.value}"


def test_request_signed_by_its_principal_is_carried_out() -> None:
    assert verified(**SIGNED).operation.name == "file_delete"
    people = Ceiling(principals={"alice": [ALICE.public]})
    assert verified(ceiling=people, **SIGNED).operation.name == "file_delete"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"statement": None}, "without the signature of alice"),
        ({"statement": sign(Key(ALICE.seed, "z" * 26), STATEMENT)}, "is for installation zzz"),
        ({"salt": "00" * 32}, "other values of parameters"),
        ({"given": {"file_path": "/srv/www/other"}}, "other values of parameters, effective parameters"),
        *(
            ({"statement": sign(ALICE, structs.replace(STATEMENT, **{field: value}))}, f"other values of {name}")
            for field, value, name in (
                ("principal", "bob", "principal"),
                ("operation", "file_write", "operation"),
                ("target", "web-2", "target"),
                ("idempotency_key", "key-2", "operation id"),
                ("dry_run", True, "dry run"),
            )
        ),
    ],
)
def test_policys_key_alone_starts_nothing_of_risk_admin(changed: dict[str, Any], why: str) -> None:
    assert refusal(**{**SIGNED, **changed}).startswith("mismatched_grant: ")
    assert why in refusal(**{**SIGNED, **changed})


def test_only_keys_that_the_hosts_root_names_sign_for_risk_admin() -> None:
    forged: dict[str, Any] = {**SIGNED, "statement": sign(MALLORY, STATEMENT)}
    assert verified(**forged).attempt == 1  # without the list any key will do: the threat model says so
    for people in ({"alice": [ALICE.public]}, {"bob": [MALLORY.public]}, {}):
        assert "is not valid" in refusal(ceiling=Ceiling(principals=people), **forged)


@pytest.mark.parametrize(
    ("ceiling", "what"),
    [
        (Ceiling(operations=["service_*", "file_read"]), "operation file_delete"),
        (Ceiling(operations=[]), "operation file_delete"),
        (Ceiling(targets=["db-*"]), "target web-1"),
        (Ceiling(file_roots=["/srv/www/static", "/srv/w"]), "file root /srv/www"),
    ],
)
def test_a_grant_of_policy_beyond_the_ceiling_is_refused(ceiling: Ceiling, what: str) -> None:
    assert refusal(ceiling=ceiling, **SIGNED) == f"beyond_ceiling: {what} is beyond the ceiling of this host"


@pytest.mark.parametrize(
    ("ceiling", "what"),
    [
        (Ceiling(targets=["db-*"]), "target web-1"),
        (Ceiling(file_roots=["/srv/other"]), "file root /srv/www"),
        (Ceiling(operations=[], targets=["web-*"]), ""),
    ],
)
def test_a_target_test_stays_within_the_ceilings_targets(ceiling: Ceiling, what: str) -> None:
    """A target test reads versions and capabilities, which belong to no operation of the ceiling."""
    grant = ReadGrant(
        operation_id=operation_id("alice", NUMBER),
        operation="backend_test",
        target=TARGET,
        pool="a",
        actions=["visit"],
        parameters_digest=keyed_digest(SALT, {}),
        policy=VERSION,
        expires_at=2.0,
    )
    ask = ReadRequest(look=sign(POLICY, grant), action="visit", parameters={}, look_key=SALT, timeout=5.0)
    if not what:
        assert verify_test_grant(trusting(ceiling), ask, 1.0).target == TARGET
        return
    with pytest.raises(SecurityRefusal, match=f"{what} is beyond the ceiling"):
        verify_test_grant(trusting(ceiling), ask, 1.0)


def test_operation_within_the_ceiling_is_carried_out() -> None:
    ceiling = Ceiling(operations=["file_*"], targets=["web-?"], services=[], file_roots=["/srv"])
    assert verified(ceiling=ceiling, **SIGNED).attempt == 1


@pytest.mark.parametrize("nginx", ["nginx", "nginx.service"])
def test_the_services_of_a_ceiling_are_names_of_units(nginx: str) -> None:
    """Requests name a service without its suffix; root of a host may write either."""
    ceiling = Ceiling(services=[nginx, "app-*", "*.timer"])
    allowed = [("nginx", True), ("nginx.socket", False), ("app-1", True), ("apt.timer", True), ("sshd", False)]
    for name, fits in allowed:
        assert (beyond(ceiling, "service_restart", TARGET, {"service_name": name}) == "") is fits


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_ceiling_is_read_as_its_root_wrote_it(tmp_path: Path) -> None:
    path = write(tmp_path / "ceiling.yaml", "operations: ['service_*']\nprincipals: {alice: []}\n")
    assert read_ceiling(path, owner=os.geteuid()) == Ceiling(operations=["service_*"], principals={"alice": []})


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_ceiling_that_others_could_write_is_no_ceiling(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "ceiling.yaml", "operations: []\n", mode)
    with pytest.raises(ConfigError, match="users other than root can write it"):
        read_ceiling(path, owner=os.geteuid())


def test_a_ceiling_in_a_folder_that_others_could_write_is_no_ceiling(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="users other than root can write it"):
        read_ceiling(write(folder / "ceiling.yaml", "operations: []\n"), owner=os.geteuid())


def test_a_ceiling_that_is_a_link_misspelt_or_missing_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "ceiling.yaml", "operation: []\n")
    with pytest.raises(ConfigError, match="operation"):
        read_ceiling(path, owner=os.geteuid())
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        read_ceiling(link, owner=os.geteuid())
    with pytest.raises(ConfigError, match="can't be read"):
        read_ceiling(tmp_path / "none.yaml", owner=os.geteuid())
