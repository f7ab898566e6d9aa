"""Diffs on a terminal."""

from rich.text import Text

from writ_cli.terminal.output import Screen, visible

STYLES = {"+": "green", "-": "red", "@": "cyan"}


def show_diff(screen: Screen, diff: str) -> None:
    """Show a diff, line by line; control characters are made visible."""
    if not diff:
        screen.line("    the content stays the same")
    for line in diff.removesuffix("\n").split("\n") if diff else ():
        screen.line(Text(f"    {visible(line)}", style=STYLES.get(line[:1], "")))
