"""Enrolment of an agent's host: by a one-time token, with a key which the host makes itself and which never leaves it.

The token is an nkey seed. Its public half is a NATS user which may only enrol, for one pool, until it is used or
expires. The same statement is signed twice: with the token, so nobody in between can substitute another key, and with
the new key, so nobody can enrol somebody else's.
"""

from typing import Annotated

from msgspec import Meta, Struct

from writ_contracts.ids import Digest, PoolId, PublicKey
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed, Statement

TokenId = Annotated[str, Meta(pattern=r"^[a-z2-7]{26}(?!\n)$", description="one token; 128 bits, base32")]


class Enrolment(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.enrolment.v1"
):
    """A request to enrol this key for this pool with this token; with a `host`, for claims from that host alone."""

    token: TokenId
    pool: PoolId
    key: PublicKey
    host: Digest | None = None


class EnrolmentRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.enrol.<token>`: one enrolment, signed twice. Sent again unchanged when no reply came."""

    by_token: Signed
    by_agent: Signed


class EnrolmentReply(Struct, frozen=True, kw_only=True):
    """The key is known now, and NATS accepts it in a moment; or an error."""

    error: Failure | None = None
