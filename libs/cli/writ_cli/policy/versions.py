"""`writ policy status`, `history`, `show`, `publish` and `rollback`: the versions of the policy in a running Writ."""

import sys
from pathlib import Path

import click
from rich.text import Text

from writ_cli.arguments import completion
from writ_cli.arguments.options import asking, listing
from writ_cli.context.settings import Settings
from writ_cli.operations.controls.stops import reach
from writ_cli.operations.running.requests import show_view
from writ_cli.policy import local_file
from writ_cli.policy.added_warnings import added_warnings, reads_policy
from writ_cli.policy.files import FILE, text_of
from writ_cli.policy.problems import of_files, show_problems
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit, of_outcome
from writ_cli.terminal.output import Screen, visible
from writ_cli.terminal.quoted_text import QuotedText
from writ_client.client import Writ
from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.plural import plural
from writ_contracts.policy.questions import PolicyProblem
from writ_contracts.policy.versions import MAX_HISTORY, PolicyHistoryReply, PolicyStatusReply, PolicyVersionView
from writ_contracts.requests import OperationView
from writ_documents.document import Document, Position

_REASON = click.option("--reason", "-r", required=True, help="Why, for the record.")


@click.command()
@asking
async def status(settings: Settings) -> int:
    """Show the policy in force.

    One replica replies with its version, the version's origin, and problems of its files. Every principal may query it.
    Exit status 1 when a file or version cannot be used.
    """
    async with await settings.connect() as writ:
        found = await writ.policy_status()
    if settings.screen.json:
        settings.screen.data(found)
    else:
        _show_status(settings.screen, found)
    return Exit.FAILED if found.problems else Exit.DONE


def _show_status(screen: Screen, found: PolicyStatusReply) -> None:
    version = found.version
    number = "no version" if version is None else f"version {version.number}"
    screen.line(Text(number, style="bold"), f" of policy '{found.name}' is in force: {plural(found.rules, 'rule')}")
    if version is not None:
        screen.fields(
            [
                ("since", times.date(version.at)),
                ("from", version.origin),
                ("author", "" if version.origin == "file" else version.author),
                ("reason", QuotedText(version.reason)),
                ("restores version", version.restores),
                ("digest", version.digest),
            ]
        )
    screen.fields(
        [
            ("label", found.label),
            ("mode", found.mode),
            ("dry runs only", "yes: nothing changes anywhere" if found.dry_run_only else ""),
            ("stored", found.stored if version is None or found.stored != version.number else ""),
            *((f"{name} cannot be used", problem) for name, problem in found.problems.items()),
            *(("note", note) for note in found.notes),
            *(("stop", QuotedText(f"{one.id} by {one.by}: {reach(one)}: {one.reason}")) for one in found.stops),
            *(("emergency", QuotedText(f"{e.id} by {e.by}, {e.state}: {e.reason}")) for e in found.emergencies),
        ]
    )


@click.command()
@click.option("--limit", type=click.IntRange(1, MAX_HISTORY), default=20, show_default=True)
@click.option("--before", type=click.IntRange(1), metavar="N", help="The next page: versions before this one.")
@listing(asking)
async def history(settings: Settings, limit: int, before: int | None) -> int:
    """List the versions of the policy, newest first."""
    async with await settings.connect() as writ:
        found = await writ.policy_history(limit=limit, before=before)
    if settings.screen.json:
        settings.screen.data(found)
    else:
        _show_history(settings.screen, found)
    return Exit.DONE


def _show_history(screen: Screen, found: PolicyHistoryReply) -> None:
    screen.table(
        ("version", "", "when", "author", "from", "digest", "problem", "reason"),
        map(_row, found.versions),
        drop=("digest", "from", ("when", "author")),
        spill=True,
    )
    if found.more:
        screen.line(f"there are more: --before {found.versions[-1].number}")


def _row(version: PolicyVersionView) -> tuple[object, ...]:
    origin = f"rollback to {version.restores}" if version.origin == "rollback" else version.origin
    in_force = Text("in force", style="bold green") if version.in_force else ""
    when = times.date(version.at) if version.at else ""
    digest = version.digest[:12]
    return version.number, in_force, when, version.author, origin, digest, version.problem, QuotedText(version.reason)


@click.command()
@click.argument(
    "version", type=click.IntRange(1), required=False, metavar="[N]", shell_complete=completion.policy_versions
)
@asking
async def show(settings: Settings, version: int | None) -> int:
    """Print a version of the policy.

    Version N, or the one in force, exactly as it was published: `writ policy show 3 > old.yaml`.
    """
    async with await settings.connect() as writ:
        found = await writ.policy_show(version)
    if settings.screen.json:
        settings.screen.data(found)
    elif sys.stdout.isatty():
        click.echo(visible(found.document, newlines=True), nl=not found.document.endswith("\n"))
    else:
        click.echo(found.document, nl=False)
    return Exit.DONE


@click.command()
@click.argument("file", type=FILE)
@_REASON
@click.option("--replaces", type=click.IntRange(0), metavar="N", help="Only if version N is still in force.")
@asking
async def publish(settings: Settings, file: Path, reason: str, replaces: int | None) -> int:
    """Put a policy in force.

    It applies on every replica as soon as it is stored, also to operations that wait to start. The service checks it as
    `writ policy validate` does; `writ policy diff FILE` shows its changes beforehand.
    """
    document = text_of(file)
    try:
        async with await settings.connect() as writ:
            before = await _digest_in_force(writ)
            warnings = await _warnings(settings, writ, document) if before else []
            view = await writ.policy_publish(document, reason=reason, replaces=replaces)
    except Invalid as error:
        if not error.problems:
            raise
        if not settings.screen.json:
            show_problems(settings.screen, _problems(document, str(file), error))
        raise Invalid(f"{file} is not published: {error}", code=error.code, problems=error.problems) from error
    note = local_file.updated(settings, document, before) if view.outcome == "succeeded" else ""
    status = _show_result(settings.screen, view)
    show_problems(settings.screen, of_files(warnings, {"policy": str(file)}))
    _show_note(settings.screen, note)
    return status


def _show_note(screen: Screen, note: str) -> None:
    if not screen.json:
        screen.fields([("file", note)])


async def _warnings(settings: Settings, writ: Writ, document: str) -> list[PolicyProblem]:
    """Return the warnings that the document adds, for people who may read the policy in force. Without them it is
    published all the same: it may repair what keeps policy from comparing.
    """
    if settings.screen.json:
        return []
    try:
        if not await reads_policy(writ):
            return []
        return await added_warnings(writ, (await writ.policy_show()).document, document)
    except WritError as error:
        click.echo(visible(f"writ: the warnings that it adds are not known: {error}"), err=True)
        return []


async def _document_of(writ: Writ, version: int) -> str:
    """Return the document; "" if the principal may put it in force but not read it."""
    try:
        return (await writ.policy_show(version)).document
    except Denied:
        return ""


async def _digest_in_force(writ: Writ) -> str:
    version = (await writ.policy_status()).version
    return "" if version is None else version.digest


@click.command()
@click.argument("version", type=click.IntRange(1), metavar="N", shell_complete=completion.policy_versions)
@_REASON
@asking
async def rollback(settings: Settings, version: int, reason: str) -> int:
    """Put an earlier version in force again.

    Its document becomes a new version, which can be rolled back, too.
    """
    async with await settings.connect() as writ:
        before = await _digest_in_force(writ)
        try:
            view = await writ.policy_rollback(version, reason=reason)
        except Invalid as error:
            if error.problems and not settings.screen.json:
                problems = _problems(await _document_of(writ, version), f"version {version}", error)
                show_problems(settings.screen, problems)
            raise
        document = await _document_of(writ, version) if view.outcome == "succeeded" else ""
    note = local_file.updated(settings, document, before) if document else ""
    status = _show_result(settings.screen, view)
    _show_note(settings.screen, note)
    return status


def _show_result(screen: Screen, view: OperationView) -> int:
    if screen.json or view.outcome != "succeeded":
        return show_view(screen, view)
    screen.line(Text(f"version {view.output.get('version')}", style="bold"), " is in force")
    screen.fields([("operation", view.operation_id), ("rules", ", ".join(view.rules))])
    return of_outcome(view.outcome)


def _problems(text: str, file: str, error: Invalid) -> list[PolicyProblem]:
    document = Document(file, text)
    places = [(Position(line, column), message) for line, column, message in error.problems]
    found = [document.problem_at(place, message) for place, message in places]
    return [
        PolicyProblem(
            severity="error",
            line=one.line,
            column=one.column,
            message=one.message,
            excerpt=one.excerpt,
            file=file,
        )
        for one in found
    ]
