"""How an agent's host comes in: by a one-time token, with a key that it has made itself and that never leaves it.

The token is an nkey seed. Its public half is a user of NATS that may do nothing but enrol, for one pool, until it is
used or expires. The same statement is signed with the token, so that nobody in between can put another key in its
place, and with the new key, so that nobody can have somebody else's let in.
"""

from typing import Annotated

from msgspec import Meta, Struct

from writ_contracts.ids import PoolId, PublicKey
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed

TokenId = Annotated[str, Meta(pattern=r"^[a-z2-7]{26}(?!\n)$", description="one token; 128 bits, base32")]


class Enrolment(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.enrolment.v1"
):
    """With this token this key wants to work for this pool."""

    token: TokenId
    pool: PoolId
    key: PublicKey


class Enrol(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.enrol.<token>`: one enrolment, signed twice. Sent again as it is where no answer came."""

    by_token: Signed
    by_agent: Signed


class Enrolled(Struct, frozen=True, kw_only=True):
    """The key is known now, and NATS lets it in in a moment; or why not."""

    error: Failure | None = None
