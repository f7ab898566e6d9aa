"""Advice by `writ audit search` when it found nothing: values that cannot be searched, and misspelt names."""

from collections.abc import Collection, Iterable, Iterator

from writ_cli.operations.running.output_labels import catalogue
from writ_cli.terminal import times
from writ_contracts.history.audit import SearchReply, UnknownName
from writ_contracts.nearest_name import did_you_mean, near
from writ_contracts.parameters import classes, searchable


def hidden_advice(answer: SearchReply, names: Collection[str]) -> Iterator[str]:
    """Yield what a search by these parameters could not find."""
    hidden = answer.hidden
    if hidden is not None and hidden.problem:
        yield f"hidden values were not searched: {hidden.problem}"
    if answer.rows or not names:
        return
    unknown = list(unsearchable(names))
    yield from unknown
    if hidden is not None and not hidden.problem and not unknown:
        if hidden.since is None:
            yield "hidden values on record are in no form that can be searched"
        else:
            yield f"hidden values can be found in requests since {times.date(hidden.since)}"


def unsearchable(names: Iterable[str]) -> Iterator[str]:
    """Yield why a search by a parameter finds nothing: it is not known here, or its values cannot be searched."""
    parameters = [operation.parameters for operation in catalogue().values()]
    known = {name for one in parameters for name in classes(one)}
    found = {name for one in parameters for name in searchable(one)} | {"timeout"}
    for name in names:
        if name not in known:
            yield f"no operation known here has a parameter {name!r}{near(name, known)}"
        elif name not in found:
            yield f"values of {name} cannot be searched: a search would confirm guesses of a secret"


def unknown_name(unknown: UnknownName) -> str:
    """Return that no operation has this name. Security events may name the principal: they are no operations."""
    if unknown.filter != "principal":
        return f"nothing on record has {unknown.filter} {unknown.name!r}{_nearest(unknown)}"
    events = f"security events that name it: `writ audit security --principal {unknown.name}`"
    return f"no operation on record has principal {unknown.name!r} ({events}){_nearest(unknown)}"


def _nearest(unknown: UnknownName) -> str:
    """Return the suggestion: for a misspelt operation that of the catalogue, which may not be on record yet."""
    known = catalogue()
    if unknown.filter == "operation" and unknown.name not in known and (hint := near(unknown.name, known)):
        return hint
    return did_you_mean(unknown.nearest)
