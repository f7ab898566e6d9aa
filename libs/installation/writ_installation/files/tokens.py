"""One-time tokens: each enrols one key for one pool, once, before it expires, and permits nothing else.

`tokens/ID.json` in `$WRIT_HOME` has the public half of a token; the token itself is shown once and stored nowhere. The
file `enrolled/ID`, beside the provisioner's files, names the key for which it was used: it appears whole, and for one
key only, even with concurrent attempts. A used token stays used, also when its agent is removed again.
"""

import base64
import secrets

from msgspec import Struct

from writ_contracts.errors import Denied, Invalid
from writ_contracts.ids import PoolId, PublicKey, encode_id
from writ_contracts.installation.enrolment import TokenId
from writ_contracts.wire import decode, encode
from writ_documents import atomic_files
from writ_documents.atomic_files import sync_folder
from writ_installation.files.home import Home
from writ_trust.enrolment_tickets import HEAD, LARGEST, Ticket
from writ_trust.keys import Key, generate_seed


class EnrolmentToken(Struct, frozen=True, kw_only=True):
    """The installation's record of a token. `until`: Unix seconds."""

    id: TokenId
    key: PublicKey
    pool: PoolId
    until: float
    replaces: PublicKey | None = None
    """The key of an agent which the one that enrols takes the place of, on the same host."""


def make(
    home: Home, pool: str, url: str, until: float, ca: str = "", replaces: str | None = None
) -> tuple[EnrolmentToken, str]:
    """Make a token; return it with the text for the agent's host, which trusts servers by this `ca`."""
    seed, number = generate_seed(), encode_id(secrets.token_bytes(16))
    token = EnrolmentToken(id=number, key=Key(seed).public, pool=pool, until=until, replaces=replaces)
    ticket = Ticket(
        token=number,
        seed=seed.decode(),
        pool=pool,
        url=url,
        policy_key=home.public("policy"),
        people_key=home.people_key(),
        installation=home.installation,
        ca=ca,
        binds_host=True,
        replaces=replaces or "",
    )
    home.tokens.mkdir(mode=0o700, exist_ok=True)
    atomic_files.save(home.tokens / f"{number}.json", encode(token))
    return token, HEAD + base64.urlsafe_b64encode(encode(ticket)).decode().rstrip("=")


def known(home: Home) -> list[EnrolmentToken]:
    """Return all tokens, valid or not, in the order of their ends. Malformed files are skipped."""
    found = []
    for path in home.tokens.glob("*.json") if home.tokens.is_dir() else ():
        try:
            token = decode(path.read_bytes()[:LARGEST], EnrolmentToken)
        except (Invalid, OSError):
            continue
        if token.id == path.stem:
            found.append(token)
    return sorted(found, key=lambda token: (token.until, token.id))


def good(home: Home, now: float) -> list[EnrolmentToken]:
    """Return the tokens NATS must accept now. A used token stays among them until it is done, so that its key can
    repeat the request.
    """
    return [token for token in known(home) if token.until > now and not is_done(home, token.id)]


def used_for(home: Home, token: str) -> str | None:
    """Return the key it enrolled; None while it is unused."""
    used = _use(home, token)
    return used if used is None else used.rstrip("\n")


def is_done(home: Home, token: str) -> bool:
    """Return whether its key was enrolled and has no further request: also if the agent was removed since."""
    return (_use(home, token) or "").endswith("\n")


def _use(home: Home, token: str) -> str | None:
    """Return the key; with a line end once it was enrolled."""
    try:
        return (home.enrolled / token).read_text()
    except FileNotFoundError:
        return None


def use(home: Home, token: EnrolmentToken, key: str) -> None:
    """Use the token up for this key; the same key may use it again. Raises Denied for another key."""
    if not home.enrolled.exists():
        home.enrolled.mkdir(mode=0o700, exist_ok=True)
        sync_folder(home.enrolled.parent)
    try:
        atomic_files.create(home.enrolled / token.id, key.encode())
    except FileExistsError:
        if used_for(home, token.id) != key:
            raise Denied("this token was used already") from None
    sync_folder(home.enrolled)  # also after FileExistsError: its writer may have died before this


def done(home: Home, token: EnrolmentToken, key: str) -> None:
    """Mark the token as done: its key is enrolled."""
    atomic_files.save(home.enrolled / token.id, f"{key}\n".encode())


def drop(home: Home, tokens: list[EnrolmentToken]) -> None:
    """Delete these tokens; they are invalid once the provisioner has read the files again."""
    for token in tokens:
        (home.tokens / f"{token.id}.json").unlink(missing_ok=True)
