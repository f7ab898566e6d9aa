"""`writ credential challenge|prove`: keys are made, and passkeys sign, in a browser or by ssh-keygen elsewhere."""

import time
from pathlib import Path
from typing import Any, BinaryIO

import click

from writ_cli.arguments import completed_names
from writ_cli.arguments.options import local
from writ_cli.context.settings import Settings
from writ_cli.credentials import enrolment_files
from writ_cli.credentials.options import ASSERTION, FILE, INSTALLATION, ROOT, read_answer
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_client.people.passkeys import (
    PasskeyAssertion,
    creation_options,
    read_assertion,
    read_registration,
    request_options,
)
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.people.attestations import AttestationRoot, RelyingParty
from writ_contracts.people.credentials import Credential, Proof
from writ_contracts.people.directory import SignedEnrolment
from writ_documents.atomic_files import write_atomically
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.files.home import Home
from writ_trust.people import check_enrolment, read_enrolment, signed_bytes
from writ_trust.presence.attestations import attestation_challenge, verify_attestation
from writ_trust.presence.certificates import UnknownMaker


@click.command()
@click.argument("person", required=False, shell_complete=completed_names.persons)
@click.option(
    "--ssh", "ssh_file", type=FILE, metavar="FILE", help="Write the bytes for `ssh-keygen -O challenge=FILE`."
)
@click.option("--request", "request_file", type=FILE, metavar="FILE", help="Of a request: for a passkey to sign it.")
@click.option(
    "--rp-id",
    metavar="NAME",
    help="Of several relying parties: the one of the new passkey.",
    shell_complete=completed_names.relying_parties,
)
@ROOT
@INSTALLATION
@local
async def challenge(
    settings: Settings,
    person: str | None,
    ssh_file: Path | None,
    request_file: Path | None,
    rp_id: str | None,
    root: str | None,
    installation: str | None,
) -> int:
    """Print what a new key of PERSON, or a passkey for a request, is to sign.

    For a page that calls `navigator.credentials.create` (a new passkey of PERSON) or `get` (with --request: first the
    new passkey signs its request, then one of another person endorses it). With --ssh for ssh-keygen, so that the
    maker's attestation of the new key names this installation and PERSON.
    """
    if person is None and request_file is not None:
        settings.screen.data({"publicKey": _options_of_request(settings.home, request_file)})
        return Exit.DONE
    if person is None or request_file is not None:
        raise click.UsageError("name a PERSON, or a request by --request")
    about = about_installation(settings, root, installation)
    made_for = attestation_challenge(about.id, about.people_key, person)
    if ssh_file is not None:
        write_atomically(ssh_file, made_for, enrolment_files.READABLE)
        _show_ssh(settings.screen, ssh_file)
        return Exit.DONE
    party, attested = _party(settings.home, rp_id), bool(_roots(settings.home))
    options = creation_options(made_for, person, party, _known(settings.home), attested=attested)
    settings.screen.data({"publicKey": options})
    return Exit.DONE


@click.command()
@click.argument("file", type=FILE)
@ASSERTION
@local
async def prove(settings: Settings, file: Path, assertion: BinaryIO | None) -> int:
    """Complete the request of a new passkey in FILE by its own signature (`writ credential challenge --request`)."""
    if assertion is None:
        raise Invalid("which signature? --assertion names the file of the browser's answer, or `-`")
    enrolment = enrolment_files.read_file(file)
    signer = read_assertion(read_answer(assertion, prompts=False), [read_enrolment(enrolment).credential])
    proved = await enrolment_files.proved(enrolment, signer)
    statement = read_enrolment(proved)
    check_enrolment(proved, [statement.people_key], statement.installation)
    enrolment_files.write_file(file, proved)
    show_enrolment(settings.screen, proved, file)
    return Exit.DONE


def about_installation(
    settings: Settings, root: str | None, installation: str | None
) -> enrolment_files.EnrolledInstallation:
    """Return the installation of a request, as named or else as in `$WRIT_HOME`. Raises Invalid."""
    if not (people_key := root or settings.home.people_key()):
        raise Invalid(f"{settings.home.public_file} has no people-key: --root names it")
    return enrolment_files.EnrolledInstallation(id=installation or settings.home.installation, people_key=people_key)


def unsigned_passkey(
    settings: Settings,
    person: str,
    proof: Proof,
    label: str,
    about: enrolment_files.EnrolledInstallation,
    registration: BinaryIO,
    *,
    attested: bool,
) -> SignedEnrolment:
    """Return the enrolment of a new passkey which has yet to sign it. Raises Invalid or Untrusted."""
    data = read_answer(registration, prompts=False)
    made_for = attestation_challenge(about.id, about.people_key, person)
    credential, attestation = read_registration(data, person, proof, _parties(settings.home), made_for, label)
    return enrolment_files.unsigned(credential, about, attestation if attested else None)


def enrolled_passkey(home: Home, data: bytes) -> PasskeyAssertion:
    """Return the assertion of an enrolled passkey. Raises Invalid."""
    return read_assertion(data, _known(home))


def check_attestation(home: Home, enrolment: SignedEnrolment) -> None:
    """Raises Untrusted for an attestation that `enrol` would refuse, where the directory is on this machine."""
    statement = read_enrolment(enrolment)
    directory = CredentialsDirectory(home).current if home.people_file.exists() else None
    if statement.attestation is None or directory is None:
        return
    try:
        verify_attestation(statement, directory.attestation_roots, time.time())
    except UnknownMaker as error:
        if statement.credential.method != "passkey":
            raise
        raise Untrusted(f"{error}; `--unattested` requests the passkey without its attestation") from error


def show_enrolment(screen: Screen, enrolment: SignedEnrolment, file: Path) -> None:
    """Show the credential of a request, its digest and the next step."""
    statement, waits = read_enrolment(enrolment), enrolment.possession == enrolment_files.NOT_YET
    known = statement.credential
    if screen.json:
        shown = {"digest": enrolment_files.short(enrolment), "credential": known, "signed": not waits}
        screen.data({**shown, "attestation": statement.attestation is not None})
        return
    vouched = "with its maker's attestation" if statement.attestation is not None else "unattested"
    worth = f"{known.method} of {known.person}, worth {known.proof}, {vouched}"
    screen.line(f"{worth}; digest {enrolment_files.short(enrolment)}")
    if waits:
        screen.line(f"the passkey has yet to sign it: `writ credential challenge --request {file}`, then `prove`")


def _show_ssh(screen: Screen, file: Path) -> None:
    words = f"ssh-keygen -t ed25519-sk -O verify-required -O challenge={file} -O write-attestation=attestation"
    if screen.json:
        screen.data({"challenge": str(file), "command": words})
    else:
        screen.line(
            f"next: `{words}`, then `writ credential request NAME FILE --ssh-key KEY --attestation attestation`"
        )


def _options_of_request(home: Home, file: Path) -> dict[str, Any]:
    enrolment = enrolment_files.read_file(file)
    own = read_enrolment(enrolment).credential
    if enrolment.possession == enrolment_files.NOT_YET:
        return request_options(signed_bytes(enrolment), [own], own.proof)
    others = [one for one in _known(home) if one.person != own.person]
    return request_options(signed_bytes(enrolment), others, "touch")


def _known(home: Home) -> list[Credential]:
    """Return the credentials that count here."""
    directory = CredentialsDirectory(home).current
    entries = directory.entries.values() if directory is not None else ()
    return [one.credential for one in entries if one.removed_at is None]


def _parties(home: Home) -> list[RelyingParty]:
    directory = CredentialsDirectory(home).current
    return list(directory.relying_parties) if directory is not None else []


def _roots(home: Home) -> list[AttestationRoot]:
    """Return the roots by which a new key can be attested."""
    directory = CredentialsDirectory(home).current
    return [one for one in directory.attestation_roots if one.removed_at is None] if directory is not None else []


def _party(home: Home, rp_id: str | None) -> RelyingParty:
    """Return the relying party of a new passkey: the newest one. Raises Invalid."""
    found = [one for one in _parties(home) if rp_id in (None, one.rp_id)]
    if not found:
        named = f"relying party {rp_id}" if rp_id else "a relying party of passkeys"
        raise Invalid(
            f"{named} has to be recorded first: `writ credential relying-party writ.example https://writ.example`"
        )
    return found[-1]
