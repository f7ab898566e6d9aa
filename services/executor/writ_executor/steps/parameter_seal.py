"""The seal of an operation's parameters for the agent that claims it.

They are sealed while policy decides on the grant, for the effective parameters of the first decision, and once more
only if the grant's are others. Large ones take milliseconds; also small ones take longer than any other step between
the grant and its reply.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import Raw, Struct, field

from writ_contracts.agents import SealedParameters
from writ_contracts.errors import Untrusted
from writ_contracts.journal import Requested
from writ_contracts.large_texts import large_texts, without_large_texts
from writ_contracts.operations import Risk
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, encode
from writ_executor.journal.large_parameters import EncryptedTexts, LargeParameters
from writ_executor.journal.stored_parameters import HiddenParameters
from writ_trust.sealing import seal


class EncodedClaimReply(Struct, frozen=True, kw_only=True):
    """A ClaimReply whose sealed parameters are JSON already. Its texts are no part of it: they are attached."""

    grant: Signed
    sealed: Raw
    outputs: bool
    approvals: list[SignedApproval] = field(default_factory=list)
    people: Signed | None = None
    by_digest: list[str] = field(default_factory=list)
    attaches: bool = False


class Sealed(Struct, frozen=True):
    """Sealed parameters as JSON, and the encrypted large texts that they leave out."""

    parameters: Raw
    texts: bytes = b""


class ParameterSeal:
    """The seal for one claim. What is sealed ahead is sent for the same parameters only."""

    def __init__(
        self, seal_to: str, key: str, requested: Requested, given: HiddenParameters, *, apart: bool = False
    ) -> None:
        """`key`: that of the parameters' digest. `given`: the parameters as the requester sent them. `apart`: the agent
        reads large texts that are attached to the reply.
        """
        self._seal_to = seal_to
        self._key = key
        self._requested = requested
        self._given = dict(given.values)
        self._stored = given.texts
        self._apart = apart
        self._ahead: tuple[dict[str, Any], Sealed] | None = None

    def prepare(self) -> None:
        """Seal the parameters that policy will probably grant. Nothing of the claim is verified yet."""
        expected = {**self._given, **self._requested.effective}
        with suppress(Untrusted):
            self._ahead = (expected, self._sealed(expected))

    def of(self, effective: dict[str, Any]) -> Sealed:
        """Return these effective parameters, sealed. Raises Untrusted for a claim without a usable key."""
        if self._ahead is not None and _are_same(self._ahead[0], effective):
            return self._ahead[1]
        return self._sealed(effective)

    def _sealed(self, effective: dict[str, Any]) -> Sealed:
        given = self._given if self._requested.statement else {}
        texts = large_texts(effective) if self._apart else {}
        if not texts:
            if self._requested.risk != Risk.ADMIN:  # agents verify the statement of no other
                given = without_large_texts(given)  # which would take a text of 1 MB beyond what NATS takes
            return Sealed(self._seal(SealedParameters(**self._inside(effective, given))))
        encrypted = self._encrypted(texts)
        same = [name for name, text in texts.items() if given.get(name) == text]
        others = {name: value for name, value in effective.items() if name not in texts}
        inside = SealedParameters(
            **self._inside(others, {name: value for name, value in given.items() if name not in same}),
            texts=encrypted.sizes,
            texts_key=encrypted.key.hex(),
            given_texts=same,
        )
        return Sealed(self._seal(inside), encrypted.data)

    def _encrypted(self, texts: Mapping[str, str]) -> EncryptedTexts:
        """Return the texts as they are stored, if these are the requester's, and no others."""
        if self._stored is not None and texts == large_texts(self._given):
            return self._stored
        return LargeParameters(self._key, texts).encrypted

    def _inside(self, effective: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        requested = self._requested
        return {
            "parameters": effective,
            "parameters_key": self._key,
            "statement": requested.statement,
            "salt": requested.salt,
            "given": given,
        }

    def _seal(self, inside: SealedParameters) -> Raw:
        return Raw(encode(seal(self._seal_to, encode(inside))))


def _are_same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Return equality as JSON: Python takes 1 and 1.0 for equal, and the agent's digest does not."""
    others = [canonical(without_large_texts(one)) for one in (left, right)]
    return large_texts(left) == large_texts(right) and others[0] == others[1]
