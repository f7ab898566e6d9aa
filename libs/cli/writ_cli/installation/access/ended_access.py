"""Bearer tokens end with the key of their principal. Enrolled credentials of a person do not: they are shown."""

from writ_cli.context.settings import Settings
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.files.gateway_tokens import end_tokens
from writ_installation.files.principal_changes import principals_of


def end_access(settings: Settings, name: str) -> None:
    """Remove the tokens that ended with the principal's former key, and show them and the credentials that are left."""
    home = settings.home
    if not home.principals.exists():  # the installation is on another machine
        return
    known = principals_of(home)
    lines = []
    if ended := [one.id for one in end_tokens(home.gateway_tokens, known, name)]:
        text = f"{len(ended)} token{'s' if len(ended) > 1 else ''} of it ended, too: {', '.join(ended)}"
        lines.append(f"{text} (`writ token create {name}` makes another)" if name in known else text)
    if name not in known and (left := _credentials(settings, name)):
        lines.append(f"credentials of a person {name} are enrolled, and would count for a later {name}:")
        lines += [f"  writ credential remove {one} --reason …" for one in left]
    for line in lines:
        if settings.screen.json:
            settings.screen.err.print(line)
        else:
            settings.screen.line(f"  {line}")


def _credentials(settings: Settings, person: str) -> list[str]:
    """Return the ids of the person's credentials that count."""
    if not settings.home.people_file.exists():
        return []
    directory = CredentialsDirectory(settings.home).current
    entries = [] if directory is None else directory.of_person(person)
    return [one.credential.id for one in entries if one.removed_at is None]
