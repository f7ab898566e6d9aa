"""A received claim, with what the headers of its message name."""

from collections.abc import Mapping

from msgspec import Struct

from writ_contracts.agents import TEXTS_APART, TEXTS_HEADER, Claim, named_start
from writ_contracts.signing import Signed


class ReceivedClaim(Struct, frozen=True, kw_only=True):
    """A claim as an agent signed it, and what its message named: the agent's start; and `apart`, that it reads
    texts attached to the reply.
    """

    signed: Signed
    claim: Claim
    started: float
    apart: bool


def received_claim(signed: Signed, claim: Claim, headers: Mapping[str, str], *, encrypts_apart: bool) -> ReceivedClaim:
    """Return the claim with what its headers name. `encrypts_apart`: this executor can attach texts."""
    return ReceivedClaim(
        signed=signed,
        claim=claim,
        started=named_start(headers),
        apart=encrypts_apart and headers.get(TEXTS_HEADER) == TEXTS_APART,
    )
