"""Translate a search to SQL conditions on the tables of the index. The functions are pure."""

from collections.abc import Iterator
from itertools import islice

from writ_contracts.history.audit import SearchQuery, names_of

_TERM = "EXISTS (SELECT 1 FROM terms t WHERE t.kind = ? AND t.value = ? AND t.first_sequence = o.first_sequence)"
_TEXT = "instr(lower(reason || char(10) || message || char(10) || code || char(10) || parameters), lower(?)) > 0"
_BEYOND = "{"
"""A text that sorts after every character of an id."""


def search_conditions(query: SearchQuery, only_of: str | None) -> tuple[str, list[object]]:
    """Return the condition on operations and its bound values. `only_of`: only this principal's, and its agents'."""
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
    if query.operation_prefix is not None:
        clauses.append("operation_id >= ? AND operation_id < ?")
        values += [query.operation_prefix, f"{query.operation_prefix}{_BEYOND}"]
    for column in ("principal", "target", "operation", "outcome"):
        if names := names_of(query, column):
            clauses.append(f"{column} IN ({', '.join('?' * len(names))})" if len(names) > 1 else f"{column} = ?")
            values += names
    for kind, value in islice(search_terms(query), 1, None):  # the query starts with this term
        clauses.append(_TERM)
        values += [kind, value]
    if only_of is not None:
        clauses.append("(principal = ? OR (acts_for = ? AND acts_for != ''))")
        values += [only_of, only_of]
    return " AND ".join(clauses) or "1", values


def search_terms(query: SearchQuery) -> Iterator[tuple[str, str]]:
    """Yield the kind and the value of each required term. The query starts with the first one."""
    if query.rule is not None:
        yield "rule", query.rule
    for name, value in query.parameters.items():
        yield f"p:{name}", value
