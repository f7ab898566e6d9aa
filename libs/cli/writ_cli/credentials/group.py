"""`writ credential request|endorse|enroll|list|remove|posture`.

Requesting and endorsing happen where people have their security keys; enrolling and removing where the people-key is.
"""

from pathlib import Path
from typing import cast

import click

from writ_cli import times
from writ_cli.credentials import enrolment_files
from writ_cli.exit_status import Exit
from writ_cli.options import listing, local
from writ_cli.output import Screen
from writ_cli.settings import Settings
from writ_client.ssh_keygen import read_ssh_key
from writ_contracts.credentials import Proof
from writ_contracts.errors import Denied, Invalid
from writ_contracts.people import Posture, SignedEnrolment
from writ_documents.readers import read_principals
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.files.home import Home
from writ_trust.people import Directory, needs_endorsement, read_enrolment

FILE = click.Path(dir_okay=False, path_type=Path)
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
ATTESTED = click.option(
    "--attested", is_flag=True, help="You have checked its maker's attestation (ssh-keygen -O write-attestation=…)."
)
LABEL = click.option("--label", default="", help="A label for people, such as 'blue token'.")


@click.group()
def credential() -> None:
    """Security keys of people, as proof of a person's approval."""


@credential.command()
@click.argument("person")
@click.argument("file", type=FILE)
@SSH_KEY
@PROOF
@LABEL
@ATTESTED
@click.option("--root", metavar="U…", help="The public people-key, of public.yaml; by default that of $WRIT_HOME.")
@click.option("--installation", metavar="ID", help="The id of the installation; by default that of $WRIT_HOME.")
@local
async def request(
    settings: Settings,
    person: str,
    file: Path,
    ssh_key: Path | None,
    proof: str,
    label: str,
    attested: bool,
    root: str | None,
    installation: str | None,
) -> int:
    """Write a request to enrol your security key as one of PERSON, you, to FILE.

    Give FILE to another person to endorse it, then to the holder of the people-key. It holds no secret.
    """
    about = enrolment_files.EnrolledInstallation(
        id=installation or settings.home.installation, people_key=root or _people_key(settings.home)
    )
    enrolment = await enrolment_files.made(
        person, _given(ssh_key), about, cast(Proof, proof), label=label, attested=attested
    )
    enrolment_files.write_file(file, enrolment)
    _show(settings.screen, enrolment)
    return Exit.DONE


@credential.command()
@click.argument("file", type=FILE)
@SSH_KEY
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@local
async def endorse(settings: Settings, file: Path, ssh_key: Path | None, yes: bool) -> int:
    """Endorse another person's request in FILE by your own enrolled security key.

    Compare the digest with the one on that person's screen, by voice or in sight.
    """
    enrolment = enrolment_files.read_file(file)
    _show(settings.screen, enrolment)
    if not yes and not click.confirm("Is this their key, with the same digest?", default=False, err=True):
        return Exit.PENDING
    enrolment_files.write_file(file, await enrolment_files.endorsed(enrolment, read_ssh_key(_given(ssh_key))))
    return Exit.DONE


@credential.command()
@click.argument("file", type=FILE)
@PEOPLE_KEY_FILE
@click.option("--posture", type=click.Choice(["solo", "team"]), help="Posture of a new directory; by default team.")
@local
async def enroll(settings: Settings, file: Path, key_file: Path | None, posture: str | None) -> int:
    """Enrol the credential in FILE. It counts for requests from now on.

    Needs the people-key in WRIT_HOME. Once another person has a credential, one of theirs must endorse the request.
    """
    directory = CredentialsDirectory(settings.home, key_file)
    enrolment = enrolment_files.read_file(file)
    expected = read_enrolment(enrolment).credential
    _check_person(settings.home, expected.person)
    entries = directory.current.entries if directory.current is not None else {}
    if enrolment.endorsement is None and needs_endorsement(expected, entries):
        raise Denied(f"another person must endorse it first: `writ credential endorse {file}`", code="not_endorsed")
    _show_version(settings.screen, directory.enroll(enrolment, cast(Posture | None, posture)))
    if key_file is None and not settings.screen.json:
        settings.screen.line(f"the people-key is in {settings.home.people_seed}: move it to a medium of your own")
    return Exit.DONE


@credential.command()
@click.argument("credential_id", metavar="ID")
@click.option("--reason", "-r", required=True, help="Why, for the record.")
@PEOPLE_KEY_FILE
@local
async def remove(settings: Settings, credential_id: str, reason: str, key_file: Path | None) -> int:
    """Remove the credential whose id begins with ID. It stops counting at once, also for approved operations not yet
    started.
    """
    _show_version(settings.screen, CredentialsDirectory(settings.home, key_file).remove(credential_id, reason))
    return Exit.DONE


@credential.command()
@click.argument("posture", type=click.Choice(["solo", "team"]))
@PEOPLE_KEY_FILE
@local
async def posture(settings: Settings, posture: str, key_file: Path | None) -> int:
    """Set the posture of the installation.

    solo: one person, who may approve the requests of their own AI agent by a proof of presence. team: nobody approves
    their own requests. There is no way back from team.
    """
    _show_version(settings.screen, CredentialsDirectory(settings.home, key_file).become(cast(Posture, posture)))
    return Exit.DONE


@credential.command("list")
@listing(local)
async def list_all(settings: Settings) -> int:
    """List the credentials of this installation, removed ones too."""
    directory = CredentialsDirectory(settings.home).current
    entries = [] if directory is None else list(directory.entries.values())
    if settings.screen.json:
        settings.screen.data({"posture": directory.posture if directory else None, "credentials": entries})
        return Exit.DONE
    if directory is None:
        settings.screen.line("no credential is enrolled: `writ credential request`")
        return Exit.DONE
    settings.screen.line(f"version {directory.name.number}, posture {directory.posture}")
    rows = [
        (
            one.credential.id[:12],
            one.credential.person,
            one.credential.label,
            one.credential.method,
            str(one.presence),
            times.date(one.enrolled_at),
            one.endorser or "",
            "" if one.removed_at is None else times.date(one.removed_at),
        )
        for one in entries
    ]
    settings.screen.table(
        ("id", "person", "label", "kind", "worth", "enrolled", "endorsed by", "removed"),
        rows,
        drop=("worth", "endorsed by", "kind", "enrolled", "label"),
    )
    return Exit.DONE


def _given(ssh_key: Path | None) -> Path:
    if ssh_key is None:
        raise Invalid("which security key? --ssh-key names its file, such as ~/.ssh/id_ed25519_sk")
    return ssh_key


def _people_key(home: Home) -> str:
    if not (found := home.people_key()):
        raise Invalid(f"{home.public_file} has no people-key: --root names it")
    return found


def _check_person(home: Home, person: str) -> None:
    """Raise Invalid for a person without a human principal in this installation."""
    humans = [one for one in read_principals(home.principals).principals if one.kind == "human"]
    persons = sorted({one.person or one.id for one in humans})
    if person not in persons:
        raise Invalid(f"{person} is not a person of {home.principals}; there are {', '.join(persons)}")


def _show(screen: Screen, enrolment: SignedEnrolment) -> None:
    known = read_enrolment(enrolment).credential
    if screen.json:
        screen.data({"digest": enrolment_files.short(enrolment), "credential": known})
        return
    screen.line(f"{known.method} of {known.person}, worth {known.presence}; digest {enrolment_files.short(enrolment)}")


def _show_version(screen: Screen, directory: Directory) -> None:
    if screen.json:
        screen.data(directory.name)
        return
    counting = sum(one.removed_at is None for one in directory.entries.values())
    screen.line(f"version {directory.name.number}, posture {directory.posture}: {counting} credentials count")
