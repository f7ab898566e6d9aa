"""`writ credential request|endorse|enrol|list|remove|posture`; passkeys and makers have modules of their own.

Requesting and endorsing happen where people have their security keys; enrolling and removing where the people-key is.
"""

from pathlib import Path
from typing import BinaryIO, cast

import click

from writ_cli.arguments import completed_names
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import listing, local
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.credentials import enrolment_files
from writ_cli.credentials.makers import relying_party, root
from writ_cli.credentials.options import (
    ASSERTION,
    ATTESTATION,
    FILE,
    INSTALLATION,
    LABEL,
    PEOPLE_KEY_FILE,
    PROOF,
    REGISTRATION,
    ROOT,
    SSH_KEY,
    UNATTESTED,
    read_answer,
)
from writ_cli.credentials.passkeys import (
    about_installation,
    challenge,
    check_attestation,
    enrolled_passkey,
    prove,
    show_enrolment,
    unsigned_passkey,
)
from writ_cli.terminal import times
from writ_cli.terminal.confirmation import confirmed
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_client.people.ssh_keygen import read_ssh_key
from writ_contracts.errors import Denied, Invalid
from writ_contracts.people.credentials import Proof
from writ_contracts.people.directory import Posture
from writ_contracts.plural import plural
from writ_documents.readers import read_principals
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.files.home import Home
from writ_trust.people import Directory, needs_endorsement, read_enrolment


@click.group(cls=CommandGroup)
def credential() -> None:
    """Security keys and passkeys of people, as proof of a person's approval."""


for command in (challenge, prove, root, relying_party):
    credential.add_command(command)


@credential.command()
@click.argument("person", shell_complete=completed_names.persons)
@click.argument("file", type=FILE)
@SSH_KEY
@REGISTRATION
@PROOF
@LABEL
@ATTESTATION
@UNATTESTED
@ROOT
@INSTALLATION
@local
async def request(
    settings: Settings,
    person: str,
    file: Path,
    ssh_key: Path | None,
    registration: BinaryIO | None,
    proof: str,
    label: str,
    attestation: Path | None,
    unattested: bool,
    root: str | None,
    installation: str | None,
) -> int:
    """Write a request to enrol your security key or passkey as one of PERSON, you, to FILE.

    Give FILE to another person to endorse it, then to the holder of the people-key. It holds no secret. Without its
    maker's attestation a key is enrolled as unattested, and a policy may refuse it (`attested: true`).
    """
    if unattested and attestation is not None:
        raise click.UsageError("--unattested leaves out the attestation that --attestation names: give one of them")
    if registration is not None:
        refuse_typed(("ssh_key", "attestation"), "--registration is that of a passkey: leave one of them out")
    about = about_installation(settings, root, installation)
    if registration is not None:
        enrolment = unsigned_passkey(
            settings, person, cast(Proof, proof), label, about, registration, attested=not unattested
        )
    else:
        vouched = None if attestation is None else enrolment_files.read_ssh_attestation(attestation)
        enrolment = await enrolment_files.made(
            person, _required_key_file(ssh_key), about, cast(Proof, proof), label=label, attestation=vouched
        )
    check_attestation(settings.home, enrolment)
    enrolment_files.write_file(file, enrolment)
    show_enrolment(settings.screen, enrolment, file)
    return Exit.DONE


@credential.command()
@click.argument("file", type=FILE)
@SSH_KEY
@ASSERTION
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@local
async def endorse(settings: Settings, file: Path, ssh_key: Path | None, assertion: BinaryIO | None, yes: bool) -> int:
    """Endorse another person's request in FILE by your own enrolled security key or passkey.

    Compare the digest with the one on that person's screen, by voice or in sight.
    """
    if assertion is not None:
        refuse_typed(("ssh_key",), "--assertion is that of a passkey: leave one of them out")
    enrolment = enrolment_files.read_file(file)
    answer = None if assertion is None else read_answer(assertion, prompts=not yes)
    show_enrolment(settings.screen, enrolment, file)
    without = "nothing was endorsed: there is no terminal to ask on; --yes endorses without a question"
    if not yes and not confirmed("Is this their key, with the same digest?", without_answer=without):
        return Exit.PENDING
    signer = read_ssh_key(_required_key_file(ssh_key)) if answer is None else enrolled_passkey(settings.home, answer)
    enrolment_files.write_file(file, await enrolment_files.endorsed(enrolment, signer))
    return Exit.DONE


@credential.command()
@click.argument("file", type=FILE)
@PEOPLE_KEY_FILE
@click.option("--posture", type=click.Choice(["solo", "team"]), help="Posture of a new directory; by default team.")
@local
async def enrol(settings: Settings, file: Path, key_file: Path | None, posture: str | None) -> int:
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
    _show_version(settings.screen, directory.enrol(enrolment, cast(Posture | None, posture)))
    if key_file is None and not settings.screen.json:
        settings.screen.line(f"the people-key is in {settings.home.people_seed}: move it to a medium of your own")
    return Exit.DONE


@credential.command()
@click.argument("credential_id", metavar="ID", shell_complete=completed_names.credentials)
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
        parties = list(directory.relying_parties) if directory else []
        posture = directory.posture if directory else None
        settings.screen.data({"posture": posture, "credentials": entries, "relying_parties": parties})
        return Exit.DONE
    if directory is not None:
        settings.screen.line(f"version {directory.name.number}, posture {directory.posture}")
    if not entries:
        settings.screen.line("no credential is enrolled: `writ credential request`")
        return Exit.DONE
    rows = [
        (
            one.credential.id[:12],
            one.credential.person,
            one.credential.label,
            one.credential.method,
            one.presence.proof,
            one.device or "unattested",
            times.date(one.enrolled_at),
            one.endorser or "",
            "" if one.removed_at is None else times.date(one.removed_at),
        )
        for one in entries
    ]
    settings.screen.table(
        ("id", "person", "label", "kind", "worth", "device", "enrolled", "endorsed by", "removed"),
        rows,
        drop=("device", "worth", "endorsed by", ("id", "kind"), ("person", "label"), ("enrolled", "removed")),
    )
    return Exit.DONE


def _required_key_file(ssh_key: Path | None) -> Path:
    if ssh_key is None:
        raise Invalid("which security key? --ssh-key names its file, such as ~/.ssh/id_ed25519_sk")
    return ssh_key


def _check_person(home: Home, person: str) -> None:
    """Raise Invalid for a person without a human principal in this installation."""
    humans = [one for one in read_principals(home.principals).principals if one.kind == "human"]
    persons = sorted({one.person or one.id for one in humans})
    if person not in persons:
        raise Invalid(f"{person} is not a person of {home.principals}; there are {', '.join(persons)}")


def _show_version(screen: Screen, directory: Directory) -> None:
    if screen.json:
        screen.data(directory.name)
        return
    counting = sum(one.removed_at is None for one in directory.entries.values())
    screen.line(
        f"version {directory.name.number}, posture {directory.posture}: {plural(counting, 'credential')} in force"
    )
