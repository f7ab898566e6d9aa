"""`policy_publish` and `policy_rollback`: store a version, then record the control event from which it decides.

Policy decides once more right before: its decision names the version in force, which the new one follows. The document
is in no event: it is kept with the secret parameters until the version is stored. Each step may be repeated.
"""

from typing import Any

from writ_bus.port import Bus, Entry
from writ_contracts import subjects
from writ_contracts.decisions import DecideRequest
from writ_contracts.errors import Conflict, Denied, Invalid
from writ_contracts.journal import ControlEvent, Requested
from writ_contracts.policy.versions import Origin, StoredPolicy, document_in, packed, packed_bytes
from writ_contracts.wire import decode, encode
from writ_executor.control.control_outcome import ControlOutcome
from writ_executor.journal.hidden_values import ParametersLost, Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import ATTEMPTS, Recorder
from writ_executor.policy.client import CheckedDecision, PolicyClient
from writ_executor.policy.recorded_request import subject_of
from writ_runtime.faults import fault
from writ_trust.digests import plain_digest

LARGEST = 3_000_000
ORIGINS: dict[str, Origin] = {"policy_publish": "published", "policy_rollback": "rollback"}


class PolicyVersionOperations:
    """The operations `policy_publish` and `policy_rollback`."""

    def __init__(
        self, bus: Bus, index: Index, recorder: Recorder, lives: OperationTable, vault: Vault, policy: PolicyClient
    ) -> None:
        self._policies = bus.policies
        self._index = index
        self._recorder = recorder
        self._lives = lives
        self._vault = vault
        self._policy = policy

    async def carry_out(self, requested: Requested) -> ControlOutcome:
        """Publish the version. Raises Invalid if policy now refuses the request, Conflict if other publishers keep
        winning.
        """
        try:
            version = await self._stored(requested) or await self._store(requested)
        except (Denied, ParametersLost) as error:
            return ControlOutcome(outcome="failed", code=error.code, message=str(error))
        fault("executor.version_stored")
        sequence = await self._announce(requested, version)
        fault("executor.control_stored")
        output = {"id": requested.operation_id, "sequence": sequence, "version": version.number}
        return ControlOutcome(output=output)

    async def _stored(self, requested: Requested) -> StoredPolicy | None:
        """Return the version this operation stored before, if a replica died afterwards."""
        record = await self._policies.last(subjects.published_policy(requested.operation_id))
        return None if record is None else decode(record.data, StoredPolicy, limit=LARGEST)

    async def _store(self, requested: Requested) -> StoredPolicy:
        parameters = await self._vault.parameters(requested)
        for _ in range(ATTEMPTS):
            last = await self._policies.last(subjects.POLICIES)
            stored = last.sequence if last else 0
            decided = await self._decide(requested, parameters, stored)
            version = await self._version(requested, parameters, decided, stored + 1)
            try:
                await self._policies.append(_entry(version, stored))
            except Conflict:
                continue  # another was first: policy decides whether this one may still follow
            return version
        raise Conflict(f"{ATTEMPTS} times another version of the policy was stored first: try again")

    async def _decide(self, requested: Requested, parameters: dict[str, Any], stored: int) -> CheckedDecision:
        subject = subject_of(requested, parameters, self._vault.keys_of(requested).parameters)
        question = DecideRequest(subject=subject, control_sequence=self._index.control_sequence, stored_policies=stored)
        decided = await self._policy.decide(question)
        if decided.decision.effect != "allow":
            raise Denied(decided.decision.reason, code=decided.decision.code or "denied")
        return decided

    async def _version(
        self, requested: Requested, parameters: dict[str, Any], decided: CheckedDecision, number: int
    ) -> StoredPolicy:
        restores = parameters.get("version")
        sent = str(parameters["document"]) if restores is None else await self._document_of(int(restores))
        compressed = packed_bytes(sent)
        document = document_in(sent)
        return StoredPolicy(
            number=number,
            packed=packed(document) if compressed is None else compressed,
            sent_packed=compressed is not None,
            digest=plain_digest(document.encode()),
            author=requested.principal,
            origin=ORIGINS[requested.operation],
            at=self._recorder.clock(),
            reason=str(parameters.get("reason", "")),
            restores=restores,
            operation_id=requested.operation_id,
            given=_without_document(parameters),
            effective=_without_document(decided.effective),
            statement=requested.statement,
            salt=requested.salt or "",
            decision=decided.signed,
            parameters_key=self._vault.keys_of(requested).parameters,
        )

    async def _document_of(self, number: int) -> str:
        records = await self._policies.read(subjects.POLICIES, after=number - 1, limit=1)
        if not records or records[0].sequence != number:
            raise Invalid(f"there is no version {number} of the policy", code="not_found")
        return decode(records[0].data, StoredPolicy, limit=LARGEST).document

    async def _announce(self, requested: Requested, version: StoredPolicy) -> int:
        event = ControlEvent(
            **{**self._recorder.stamp(requested.correlation_id), "id": requested.operation_id},
            kind=requested.operation,
            principal=requested.principal,
            operation_id=requested.operation_id,
            body={
                "version": version.number,
                "digest": version.digest,
                "restores": version.restores,
                "reason": version.reason,
            },
            decision=version.decision,
            statement=requested.statement,
            parameters_key=version.parameters_key,
        )
        life = await self._lives.find(requested.principal, requested.operation_id)
        subject = subjects.control_event(requested.operation)
        return await self._recorder.append_once(subject, event, after=life.first_sequence)


def _entry(version: StoredPolicy, stored: int) -> Entry:
    return Entry(
        subject=subjects.published_policy(version.operation_id),
        data=encode(version),
        event_id=version.operation_id,
        filter=subjects.POLICIES,
        expected=stored,
    )


def _without_document(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != "document"}
