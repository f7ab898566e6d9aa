"""Translate a search to SQL conditions on the tables of the index. The functions are pure."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from writ_audit.projection import APPROVER, DIGEST, parameter_term
from writ_contracts.history.audit import SearchQuery, names_of

Term = tuple[str, str]
"""Kind and value of a term."""
Digests = Mapping[tuple[str, str], Sequence[str]]
"""The search digests of sought values, by name and value of the parameter."""
NO_DIGESTS: Digests = MappingProxyType({})
_TERM = "EXISTS (SELECT 1 FROM terms t WHERE (t.kind, t.value) IN (VALUES {}) AND t.first_sequence = o.first_sequence)"
_TEXT = "instr(lower(reason || char(10) || message || char(10) || code || char(10) || parameters), lower(?)) > 0"
_BEYOND = "{"
"""A text that sorts after every character of an id."""


def search_conditions(
    query: SearchQuery, only_of: str | None, terms: Sequence[Sequence[Term]] = ()
) -> tuple[str, list[object]]:
    """Return the condition on operations and its bound values. `only_of`: only this principal's, and its agents'.
    `terms`: an operation must have one of each group.
    """
    pairs: list[tuple[str, object | None]] = [
        ("correlation_id = ?", query.correlation_id),
        ("emergency = ? AND emergency != ''", query.emergency),
        ("client = ? AND client != ''", query.client),
        ("session = ? AND session != ''", query.session),
        ("instr(lower(reason), lower(?)) > 0", query.reason),
        (_TEXT, query.text),
        ("requested_at >= ?", query.since),
        ("requested_at < ?", query.until),
        (":at < ?", query.before),
    ]
    conditions = [(clause, value) for clause, value in pairs if value is not None]
    clauses, values = [clause for clause, _ in conditions], [value for _, value in conditions]
    for column, prefix in (("operation_id", query.operation_prefix), ("correlation_id", query.correlation_prefix)):
        if prefix is not None:
            clauses.append(f"{column} >= ? AND {column} < ?")
            values += [prefix, f"{prefix}{_BEYOND}"]
    for column in ("principal", "target", "operation", "outcome"):
        if names := names_of(query, column):
            clauses.append(f"{column} {_any_of(names)}")
            values += names
    for alternatives in terms:
        clauses.append(_TERM.format(", ".join(["(?, ?)"] * len(alternatives))))
        values += [part for term in alternatives for part in term]
    if only_of is not None:
        clauses.append("(principal = ? OR (acts_for = ? AND acts_for != ''))")
        values += [only_of, only_of]
    return " AND ".join(clauses) or "1", values


def search_terms(query: SearchQuery, digests: Digests) -> Iterator[list[Term]]:
    """Yield for each filter by term its alternatives. A value of a parameter is on record itself, or its digest is."""
    if rules := names_of(query, "rule"):
        yield [("rule", rule) for rule in rules]
    if query.approvers:
        yield [(APPROVER, name) for name in query.approvers]
    for name, values in sought_values(query):
        on_record = [parameter_term(name, value) for value in values]
        yield [*on_record, *((DIGEST, digest) for value in values for digest in digests.get((name, value), ()))]


def names_an_id(query: SearchQuery) -> bool:
    """Return whether the query names an operation or a correlation id, of which there are few."""
    return any((query.operation_prefix, query.correlation_id, query.correlation_prefix))


def sought_values(query: SearchQuery) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each parameter that the query filters by, and the values of which it must have one."""
    yield from ((name, [value]) for name, value in query.parameters.items())
    yield from query.parameter_values.items()


def _any_of(values: Sequence[str]) -> str:
    return f"IN ({', '.join('?' * len(values))})" if len(values) > 1 else "= ?"
