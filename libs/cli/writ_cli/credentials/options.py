"""Options of `writ credential`, and of other commands by which people prove their presence."""

from pathlib import Path
from typing import BinaryIO

import click

from writ_client.people.passkeys import LARGEST_ANSWER

FILE = click.Path(dir_okay=False, path_type=Path)
JSON_FILE = click.File("rb")
SSH_KEY = click.option(
    "--ssh-key", envvar="WRIT_SSH_KEY", type=FILE, metavar="FILE", help="A security key: id_ed25519_sk (WRIT_SSH_KEY)."
)
PEOPLE_KEY_FILE = click.option(
    "--people-key", "key_file", type=FILE, metavar="FILE", help="The people-key, if it is not in $WRIT_HOME/people."
)
PROOF = click.option(
    "--proof",
    type=click.Choice(["touch", "verified"]),
    default="touch",
    show_default=True,
    help="The proof it can give: a touch, or also a PIN or fingerprint.",
)
ATTESTATION = click.option(
    "--attestation",
    type=FILE,
    metavar="FILE",
    help="Of a security key: the file of `ssh-keygen -O write-attestation`, made with `writ credential challenge`.",
)
UNATTESTED = click.option("--unattested", is_flag=True, help="Of a passkey: leave its maker's attestation out.")
REGISTRATION = click.option(
    "--registration",
    type=JSON_FILE,
    metavar="FILE|-",
    help="Of a passkey: the JSON that a browser gave after `create` (`PublicKeyCredential.toJSON()`).",
)
ASSERTION = click.option(
    "--assertion",
    type=JSON_FILE,
    metavar="FILE|-",
    help="By a passkey: the JSON that a browser gave after `get` (`PublicKeyCredential.toJSON()`).",
)
LABEL = click.option("--label", default="", help="A label for people, such as 'blue token'.")
ROOT = click.option(
    "--root", metavar="U…", help="The public people-key, of public.yaml; by default that of $WRIT_HOME."
)
INSTALLATION = click.option(
    "--installation", metavar="ID", help="The id of the installation; by default that of $WRIT_HOME."
)


def read_answer(file: BinaryIO, *, prompts: bool) -> bytes:
    """Return the JSON of a browser. Raises UsageError where a question has to be answered on the same input."""
    if prompts and getattr(file, "name", "") == "<stdin>":
        raise click.UsageError("`-` reads the input that the confirmation needs: add --yes, or name a file")
    return file.read(LARGEST_ANSWER + 1)
