"""Receipts: from a backend's result to signed public fields of bounded size."""

from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from writ_agent.backends.port import TaskResult
from writ_contracts.agents import Receipt
from writ_contracts.attached_bytes import attach
from writ_contracts.large_texts import texts_as_bytes, without_large_texts
from writ_contracts.operations import Operation
from writ_contracts.parameters import recorded
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, encode
from writ_trust.digests import derive, keyed_digest, plain_digest
from writ_trust.keys import Key
from writ_trust.statements import sign

MAX_RECEIPT_BYTES = 32 * 1024
MAX_MESSAGE = 2000
"""Bytes as JSON: it is in the journal twice, in the receipt and in the event that brings it."""
MAX_FULL_BYTES = 1_800_000
"""The server takes messages of 2 MB."""


class AgentIdentity(Struct, frozen=True, kw_only=True):
    """The signer: this process of this pool."""

    key: Key
    pool: str
    instance: str
    host: str | None = None
    """The host that claims name, where the key was enrolled for it."""
    started: float = 0.0
    """When the process started, by its host's clock."""

    def keyed(self, target: str, value: Any) -> str:
        """Return the digest of something secret of the target: nobody can guess it without this pool's key."""
        return keyed_digest(derive(self.key.seed, "writ.contents", target), value)


class ReceiptSubject(Struct, frozen=True, kw_only=True):
    """The attempt reported by a receipt."""

    operation_id: str
    attempt: int
    principal: str
    instance: str
    grant_digest: str | None
    claim_digest: str | None
    outputs: bool = True
    """True if the receipt shows the public output and state."""
    target: str = ""
    attaches: bool = False
    """True if all executors read attached texts."""

    @property
    def attempt_key(self) -> str:
        """Return the key of what the spool has of the attempt while it goes on."""
        return f"{self.operation_id}.{self.attempt}"

    @property
    def key(self) -> str:
        """Return the key of the receipt in the spool. That of a claim without a grant leaves room for other claims."""
        without_grant = self.grant_digest is None and self.claim_digest is not None
        return f"{self.attempt_key}.{self.claim_digest:.16}" if without_grant else self.attempt_key


class FullOutput:
    """A complete output as it is sent: as JSON, or with its large texts attached as bytes."""

    def __init__(self, done: TaskResult, *, attaches: bool) -> None:
        """`attaches`: executors read attached texts."""
        output, self._digests = done.output, done.digests
        self._texts, self._attached = texts_as_bytes(output) if attaches else ([], b"")
        self._values = canonical(without_large_texts(output) if self._texts else output)
        self.size = len(self._values) + len(self._attached)
        """Bytes of the JSON and of the attached texts."""
        if self.size > MAX_FULL_BYTES:
            self._texts, self._attached = [], b""
            self._values = canonical({"omitted_bytes": self.size})

    def digest(self, identity: AgentIdentity, target: str) -> str:
        """Return the digest for the receipt."""
        if not self._texts:
            return identity.keyed(target, Raw(self._values))
        texts, start = [], 0
        for name, size in self._texts:
            known = self._digests.get(name)
            texts.append((name, size, known or plain_digest(self._attached[start : start + size])))
            start += size
        return identity.keyed(target, {"texts": texts, "values": Raw(self._values)})

    def message(self, receipt: Signed, principal: str) -> bytes:
        head = _EncodedMessage(receipt=receipt, principal=principal, full_output=Raw(self._values), texts=self._texts)
        return attach(encode(head), self._attached) if self._texts else encode(head)


def receipt_message(
    identity: AgentIdentity, subject: ReceiptSubject, done: TaskResult, operation: Operation | None, duration: float
) -> bytes:
    """Return a ReceiptMessage. `duration` in seconds. Without the operation no output counts as public."""
    full = FullOutput(done, attaches=subject.attaches)
    keyed = partial(identity.keyed, subject.target)
    shown = recorded(operation.output, done.output, keyed) if operation and subject.outputs else {}
    receipt = Receipt(
        operation_id=subject.operation_id,
        attempt=subject.attempt,
        pool=identity.pool,
        instance=subject.instance,
        grant_digest=subject.grant_digest,
        outcome="unknown" if done.outcome == "cancelled" and not done.over else done.outcome,
        code=done.code[:64],
        message=_short(done.message),
        output_digest=full.digest(identity, subject.target),
        output_bytes=full.size,
        output=_bounded(shown, MAX_RECEIPT_BYTES // 2),
        state=_bounded(done.state if subject.outputs else {}, MAX_RECEIPT_BYTES // 4),
        effect=done.effect,
        duration_ms=round(duration * 1000, 3),
        over=done.over,
        claim_digest=subject.claim_digest,
    )
    return full.message(sign(identity.key, receipt), subject.principal)


class _EncodedMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ReceiptMessage whose full output is JSON already: large ones are encoded once for all uses."""

    receipt: Signed
    principal: str
    full_output: Raw
    texts: list[tuple[str, int]] = []


def _short(message: str) -> str:
    cut = message[:MAX_MESSAGE]
    while len(canonical(cut)) > MAX_MESSAGE + 2:
        cut = cut[: len(cut) * 9 // 10]
    return cut


def _bounded(values: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the fields, in order, as far as they fit into `limit` bytes. Long strings and lists are cut and marked
    so.
    """
    if len(canonical(values)) <= limit:
        return values
    kept: dict[str, Any] = {"truncated": True}
    for name, value in values.items():
        cut = _cut(value)
        if len(canonical({**kept, name: cut})) <= limit:
            kept[name] = cut
    return kept


def _cut(value: Any) -> Any:
    match value:
        case str() if len(value) > 1000:
            return value[:1000] + "…"
        case list() if len(value) > 50:
            return value[:50]
        case _:
            return msgspec.to_builtins(value)
