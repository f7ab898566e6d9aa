"""Proofs of a stored policy version. Plain functions; the storing party is not trusted.

A file's version has policy's own signature. A published version has two: the author's, over the operation and the
document, and policy's, on the decision which allowed it. The decision confirms the author's key and rights at that
time, so later changes of keys and rights do not matter. It also names the version in force then: this must be the
previous one, or the version is replayed or out of turn.
"""

from collections.abc import Collection
from typing import Any

from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.history.records import Record
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.policy.versions import PolicyFile, StoredPolicy
from writ_contracts.requests import RequestStatement
from writ_contracts.wire import decode
from writ_trust.digests import keyed_digest, plain_digest, same
from writ_trust.statements import digest, open_signed

OPERATIONS = {"published": "policy_publish", "rollback": "policy_rollback"}
LATEST, EARLIEST = 300.0, -60.0
"""Seconds between policy's decision and the storage of its subject by the server."""


def read_version(record: Record, trusted: Collection[str], installation: str) -> tuple[StoredPolicy, int]:
    """Return the version of a record and the number of its predecessor, by the signatures of these keys of policy.

    Raises Untrusted, or Invalid if it cannot be read at all.
    """
    version = decode(record.data, StoredPolicy, limit=3_000_000)
    if version.number != record.sequence:
        raise Untrusted(f"it is version {version.number} by its content, but stored as {record.sequence}")
    if plain_digest(version.document.encode()) != version.digest:
        raise Untrusted("its document does not match its digest")
    if version.origin == "file":
        return version, _of_file(version, record, trusted, installation)
    return version, _of_author(version, record, trusted, installation)


def _of_file(version: StoredPolicy, record: Record, trusted: Collection[str], installation: str) -> int:
    if version.file is None or record.subject != subjects.POLICY_FILE:
        raise Untrusted("it is marked as made from the policy file, and policy has not signed it")
    signed = open_signed(version.file, PolicyFile, trusted, installation, unbound=True)
    if (signed.number, signed.digest, version.author) != (version.number, version.digest, "file"):
        raise Untrusted("policy signed another file, or for another number")
    return signed.previous


def _of_author(version: StoredPolicy, record: Record, trusted: Collection[str], installation: str) -> int:
    if version.statement is None or version.decision is None:
        raise Untrusted("it lacks the signature of its author or of policy")
    decision = open_signed(version.decision, Decision, trusted, installation, unbound=True)
    if _request_in(decision) != (OPERATIONS[version.origin], WRIT_TARGET, version.operation_id, version.author):
        raise Untrusted(f"policy's decision is on {decision.operation} of {decision.principal}")
    if (decision.effect, decision.authenticated, decision.dry_run) != ("allow", "signature", False):
        raise Untrusted("policy did not allow it, or not by its author's signature")
    if record.subject != subjects.published_policy(version.operation_id):
        raise Untrusted("it is stored for another operation")
    if not EARLIEST <= record.time - decision.at <= LATEST:
        raise Untrusted(f"it was stored {record.time - decision.at:.0f} s after the decision")
    _check_statement(version, decision, installation)
    _check_content(version, decision)
    return decision.policy.number


def _request_in(decision: Decision) -> tuple[str, str, str, str]:
    return decision.operation, decision.target, decision.operation_id, decision.principal


def _check_statement(version: StoredPolicy, decision: Decision, installation: str) -> None:
    """Raises Untrusted unless the decision names the statement verified by policy with its author's key."""
    signed = version.statement
    if signed is None or decision.statement_digest != digest(signed):
        raise Untrusted("policy decided on another statement of the author")
    statement = open_signed(signed, RequestStatement, (signed.key,), installation, unbound=True)
    if (statement.principal, statement.operation) != (version.author, decision.operation):
        raise Untrusted("the author's statement is for another request")
    if not _opens(version.salt, _whole(version, version.given), statement.parameters_digest):
        raise Untrusted("the author signed another document")


def _check_content(version: StoredPolicy, decision: Decision) -> None:
    if not _opens(version.parameters_key, _whole(version, version.effective), decision.parameters_digest):
        raise Untrusted("policy allowed another document")
    if version.restores != (version.effective.get("version") if version.origin == "rollback" else None):
        raise Untrusted("it restores another version than requested")


def _whole(version: StoredPolicy, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with the document, which is stored once."""
    return {**parameters, "document": version.sent} if version.origin == "published" else parameters


def _opens(key: str, parameters: dict[str, Any], signed: str) -> bool:
    try:
        return same(keyed_digest(key, parameters), signed)
    except ValueError:  # the key is any string
        return False
