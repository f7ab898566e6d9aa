"""`writ run --diff`: a preview before the run; its diff is shown if the run made exactly this change."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from writ_cli.terminal.diff_text import show_diff
from writ_cli.terminal.output import Screen
from writ_cli.terminal.quoted_values import quoted
from writ_client.client import Writ
from writ_client.operations.time_left import TimeLeft
from writ_contracts.requests import OperationView

DIGESTS = ("digest_before", "digest_after")
"""Digests in a preview; "" for an absent file, and for one that is too large to hash for it."""
BOUND = (*DIGESTS, "version_before", "version_after")
"""Fields of a preview and of the outcome that say between which states a change was made."""

CHANGES = ("would", "changes", "changed")
"""Fields of a preview without a diff that say what changes; `would` of many packages names the first ones alone."""


class RunPreview(Struct, frozen=True, kw_only=True):
    """The preview, or why there is none."""

    output: Mapping[str, Any] = {}
    problem: str = ""


async def preview_of(
    writ: Writ, operation: str, target: str, parameters: dict[str, Any], within: TimeLeft
) -> RunPreview:
    """Take a preview by a dry run, which is recorded like any other."""
    answer = await writ.submit(
        operation, target, parameters, reason="for the diff of a run", dry_run=True, timeout=within.for_submission
    )
    if answer.operation_id is None:
        return RunPreview(problem=answer.error.message if answer.error else "it was refused")
    view = await writ.wait(answer.operation_id, timeout=within)
    if view.outcome != "previewed":
        return RunPreview(problem=view.message or str(view.outcome))
    return RunPreview(output=(await writ.with_output(view)).output)


def show_run_diff(screen: Screen, view: OperationView, preview: RunPreview) -> None:
    """Show the diff of the change, or the reason for its absence."""
    if problem := problem_of(view, preview):
        screen.line(f"  no diff: {problem}")
    elif "diff" in preview.output:
        screen.line("  diff:")
        show_diff(screen, str(preview.output["diff"]))
    else:
        screen.line("  changes:")
        screen.fields(((name, quoted(preview.output[name])) for name in CHANGES if name in preview.output), indent=4)


def problem_of(view: OperationView, preview: RunPreview) -> str:
    """Return the reason why the run's change differs from the preview; empty if it does not."""
    if preview.problem:
        return preview.problem
    if view.outcome != "succeeded":
        return f"it {view.outcome or 'has not ended'}"
    both = preview.output.keys() & view.output.keys()
    known = [name for name in BOUND if name in both and (preview.output[name] or name not in DIGESTS)]
    if not known and "diff" in preview.output:
        return "the preview or the outcome has no digest of the change"
    created = [name for name in ("created",) if name in both]  # an absent file has no digest either
    if any(preview.output[name] != view.output[name] for name in [*known, *created]):
        return "the target changed between the preview and the run"
    return ""
