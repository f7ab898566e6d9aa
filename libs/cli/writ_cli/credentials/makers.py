"""`writ credential root|relying-party`: the makers whose attestations count, and the pages at which passkeys sign.

Both are in the directory that the people-key signs, so policy, agents and the verifier of archives have them.
"""

from pathlib import Path

import click

from writ_cli.arguments import completed_names
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import listing, local
from writ_cli.context.settings import Settings
from writ_cli.credentials.options import FILE, PEOPLE_KEY_FILE
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_installation.administration.credentials import CredentialsDirectory
from writ_trust.presence.certificates import der_of, fingerprint, read_authority
from writ_trust.presence.passkeys import decoded


@click.group(cls=CommandGroup)
def root() -> None:
    """Makers of security keys whose attestations count: their root certificates."""


@root.command()
@click.argument("file", type=FILE)
@PEOPLE_KEY_FILE
@local
async def add(settings: Settings, file: Path, key_file: Path | None) -> int:
    """Record the certificate authority in FILE (PEM or DER) for enrolments from now on.

    Compare its fingerprint with the one that the maker publishes. An intermediate authority can be recorded, too.
    """
    certificate = _certificate(file)
    directory = CredentialsDirectory(settings.home, key_file)
    version = directory.record_root(certificate).name.number
    subject, digest = read_authority(certificate), fingerprint(certificate)
    if settings.screen.json:
        settings.screen.data({"number": version, "fingerprint": digest, "subject": subject})
    else:
        settings.screen.line(f"version {version}: {subject}, SHA-256 {digest}")
    return Exit.DONE


def _certificate(file: Path) -> bytes:
    try:
        return der_of(file.read_bytes())
    except OSError as error:
        raise Invalid(f"{file}: can't be read: {error.strerror}") from error


@root.command("remove")
@click.argument("beginning", metavar="FINGERPRINT", shell_complete=completed_names.roots)
@PEOPLE_KEY_FILE
@local
async def remove_root(settings: Settings, beginning: str, key_file: Path | None) -> int:
    """Remove the root whose SHA-256 begins with FINGERPRINT, for enrolments from now on.

    Credentials that were enrolled by it stay attested: remove those that should not count.
    """
    name = CredentialsDirectory(settings.home, key_file).remove_root(beginning).name
    if settings.screen.json:
        settings.screen.data(name)
    else:
        settings.screen.line(f"version {name.number}: the root counts for no further enrolment")
    return Exit.DONE


@root.command("list")
@listing(local)
async def list_roots(settings: Settings) -> int:
    """List the recorded roots."""
    directory = CredentialsDirectory(settings.home).current
    roots = [] if directory is None else list(directory.attestation_roots)
    rows = [(fingerprint(data := decoded(one.certificate)), read_authority(data), one) for one in roots]
    if settings.screen.json:
        settings.screen.data([{"fingerprint": key, "subject": name, "root": one} for key, name, one in rows])
        return Exit.DONE
    settings.screen.table(
        ("fingerprint", "subject", "recorded", "removed"),
        [
            (key[:16], name, times.date(one.recorded_at), "" if one.removed_at is None else times.date(one.removed_at))
            for key, name, one in rows
        ],
        drop=("removed", "recorded"),
    )
    return Exit.DONE


@click.command("relying-party")
@click.argument("rp_id", metavar="RP-ID", shell_complete=completed_names.relying_parties)
@click.argument("origin")
@PEOPLE_KEY_FILE
@local
async def relying_party(settings: Settings, rp_id: str, origin: str, key_file: Path | None) -> int:
    """Record that passkeys of RP-ID may sign for this installation at ORIGIN.

    Such as `writ.example https://writ.example`. Passkeys that are requested later name it. It cannot be taken back:
    remove credentials that should not count.
    """
    name = CredentialsDirectory(settings.home, key_file).record_relying_party(rp_id, origin).name
    if settings.screen.json:
        settings.screen.data(name)
    else:
        settings.screen.line(f"version {name.number}: passkeys of {rp_id} sign at {origin}")
    return Exit.DONE
