"""One-time enrolment tokens in the form for their holders: server, pool, policy's key and the installation's id."""

import base64
import binascii

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.ids import InstallationId, PoolId, PublicKey
from writ_contracts.installation.enrolment import TokenId
from writ_contracts.wire import decode
from writ_trust.keys import Key, is_public

HEAD = "writ-enrol-1."
LARGEST = 8192
CA_PREFIX = "der:"
"""A ticket spells the certificate out; it names no file of the host."""


class Ticket(Struct, frozen=True, kw_only=True):
    """The content of a token: server and pool of the enrolment, the policy key to trust from then on, and the id of the
    installation.
    """

    token: TokenId
    seed: str
    pool: PoolId
    url: str
    policy_key: PublicKey
    people_key: str = ""
    """Of the directory of people's credentials."""
    installation: InstallationId
    ca: str = ""
    """The certificate of the CA that signs those of the servers, as in WRIT_TLS_CA: nobody else passes for one."""
    binds_host: bool = False
    """The key that enrols counts from its host alone."""
    replaces: str = ""
    """The key of this host's agent which the next one takes the place of."""

    @property
    def key(self) -> Key:
        """Return the token's private key."""
        return Key(self.seed.encode(), self.installation)


def read_ticket(text: str) -> Ticket:
    """Return the content of a token. Raises Invalid, which never shows it."""
    words = text.strip()
    try:
        data = base64.b64decode(words.removeprefix(HEAD) + "=" * (-len(words.removeprefix(HEAD)) % 4), b"-_", True)
        ticket = decode(data, Ticket, limit=LARGEST)
    except (Invalid, ValueError, binascii.Error):
        raise Invalid("this is not a token of `writ agent token`, or it is cut off") from None
    lines = ticket.url, ticket.ca  # of the agent's environment
    if any(not one.isprintable() or " " in one for one in lines):
        raise Invalid("the token has no valid server address")
    if ticket.ca and not ticket.ca.startswith(CA_PREFIX):
        raise Invalid("the token has no valid CA")
    if ticket.people_key and not is_public(ticket.people_key):
        raise Invalid("the token has no valid people-key")
    if not words.startswith(HEAD):
        raise Invalid("this is not a token of `writ agent token`, or another version of Writ made it")
    return ticket
