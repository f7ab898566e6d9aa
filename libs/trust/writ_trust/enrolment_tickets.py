"""One-time enrolment tokens as their holder has them: where to enrol, for which pool, whose grants to accept."""

import base64
import binascii

from msgspec import Struct

from writ_contracts.enrolment import TokenId
from writ_contracts.errors import Invalid
from writ_contracts.ids import PoolId, PublicKey
from writ_contracts.wire import decode
from writ_trust.keys import Key

HEAD = "writ-enrol-1."
LARGEST = 8192


class Ticket(Struct, frozen=True, kw_only=True):
    """What the token tells its holder: where to enrol for which pool, and whose grants to believe from then on."""

    token: TokenId
    seed: str
    pool: PoolId
    url: str
    policy_key: PublicKey

    @property
    def key(self) -> Key:
        """The private key that it is."""
        return Key(self.seed.encode())


def read_ticket(text: str) -> Ticket:
    """What a token says. Raises Invalid, which never shows it."""
    words = text.strip()
    try:
        data = base64.b64decode(words.removeprefix(HEAD) + "=" * (-len(words.removeprefix(HEAD)) % 4), b"-_", True)
        ticket = decode(data, Ticket, limit=LARGEST)
    except (Invalid, ValueError, binascii.Error):
        raise Invalid("that is no token of `writ agent token`, or not all of it") from None
    if not ticket.url.isprintable() or " " in ticket.url:  # it becomes a line of the agent's environment
        raise Invalid("that token names no address of a server")
    if not words.startswith(HEAD):
        raise Invalid("that is no token of `writ agent token`, or one of another version of Writ")
    return ticket
