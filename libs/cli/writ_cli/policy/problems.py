"""Mistakes and warnings of a policy on the screen: file:line:column, the message, the line with a caret below."""

from collections.abc import Iterable, Mapping

from msgspec import structs
from rich.text import Text

from writ_cli.terminal.output import Screen
from writ_contracts.policy.questions import PolicyProblem

_STYLES = {"error": "red", "lint": "red", "warning": "yellow"}


def of_files(problems: Iterable[PolicyProblem], names: Mapping[str, str]) -> list[PolicyProblem]:
    """Return the problems with local file names: a service knows texts alone."""
    return [structs.replace(problem, file=names.get(problem.file, problem.file)) for problem in problems]


def show_problems(screen: Screen, problems: Iterable[PolicyProblem], file: str = "") -> None:
    """Show all problems; `file` is the file of problems without one."""
    for problem in problems:
        place = f"{problem.file or file}:{problem.line}:{problem.column}: "
        screen.line(place, Text(problem.severity, style=_STYLES.get(problem.severity, "")), f": {problem.message}")
        for line in problem.excerpt.splitlines():
            screen.line(line)


def counted(problems: Iterable[PolicyProblem]) -> str:
    """Return the number of problems of each severity, for people; empty for none."""
    severities = [problem.severity for problem in problems]
    warnings = severities.count("warning")
    mistakes = len(severities) - warnings
    parts = [f"{mistakes} {'mistakes' if mistakes > 1 else 'mistake'}"] if mistakes else []
    parts += [f"{warnings} {'warnings' if warnings > 1 else 'warning'}"] if warnings else []
    return ", ".join(parts)
