"""Approvals that a passkey signs in a browser elsewhere: the challenge in a file, and the answer to it."""

from pathlib import Path
from typing import Any, BinaryIO

import click
from msgspec import Struct

from writ_cli.credentials.options import read_answer
from writ_client.client import Writ
from writ_client.people.approval_card import Card
from writ_client.people.passkeys import PasskeyAssertion, read_assertion, request_options
from writ_contracts.errors import Invalid
from writ_contracts.people.approvals import Approval
from writ_contracts.wire import canonical, decode
from writ_trust.approvals import signed_bytes

LARGEST = 65_536
CHALLENGE = click.option(
    "--challenge",
    "challenge_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What the passkey signed: the output of `writ approvals challenge`.",
)


class ChallengeFile(Struct, frozen=True, kw_only=True, rename={"public_key": "publicKey"}):
    """The output of `writ approvals challenge`: the statement to be signed as its canonical JSON, and the options of
    `get` for a browser.
    """

    digest: str
    approval: str
    public_key: dict[str, Any]


async def challenge_of(writ: Writ, card: Card, reason: str) -> ChallengeFile:
    """Return the challenge of this card, for the passkeys of the caller's person if these are known."""
    approval = writ.approvals.challenge(card, reason=reason)
    known = await writ.approvals.credentials()
    own = [one for one in known if one.person == writ.principal] or known
    options = request_options(signed_bytes(approval), own, approval.proof)
    return ChallengeFile(digest=card.short, approval=canonical(approval).decode(), public_key=options)


async def signed_challenge(
    writ: Writ, challenge_file: Path | None, assertion: BinaryIO | None, *, prompts: bool
) -> tuple[Approval, PasskeyAssertion] | None:
    """Return the challenge and the passkey's answer to it; None where neither was given. Raises Invalid."""
    if challenge_file is None and assertion is None:
        return None
    if challenge_file is None or assertion is None:
        raise Invalid("a passkey needs both --challenge, the file of `writ approvals challenge`, and --assertion")
    data = read_answer(assertion, prompts=prompts)
    return _read_challenge(challenge_file), read_assertion(data, await writ.approvals.credentials())


def _read_challenge(path: Path) -> Approval:
    try:
        with path.open("rb") as file:
            found = decode(file.read(LARGEST + 1), ChallengeFile, limit=LARGEST)
            return decode(found.approval.encode(), Approval)
    except OSError as error:
        raise Invalid(f"{path}: can't be read: {error.strerror}") from error
    except Invalid as error:
        raise Invalid(f"{path}: is no output of `writ approvals challenge`: {error}") from error
