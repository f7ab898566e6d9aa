"""Translate a search to SQL conditions on the tables of the index. The functions are pure."""

from collections.abc import Iterator, Sequence

from writ_contracts.history.audit import SearchQuery, names_of

_TERM = "EXISTS (SELECT 1 FROM terms t WHERE t.kind = ? AND t.value {} AND t.first_sequence = o.first_sequence)"
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
    for column, prefix in (("operation_id", query.operation_prefix), ("correlation_id", query.correlation_prefix)):
        if prefix is not None:
            clauses.append(f"{column} >= ? AND {column} < ?")
            values += [prefix, f"{prefix}{_BEYOND}"]
    for column in ("principal", "target", "operation", "outcome"):
        if names := names_of(query, column):
            clauses.append(f"{column} {_any_of(names)}")
            values += names
    leading = leading_term(query)
    for kind, alternatives in search_terms(query):
        if (kind, *alternatives) != leading:
            clauses.append(_TERM.format(_any_of(alternatives)))
            values += [kind, *alternatives]
    if only_of is not None:
        clauses.append("(principal = ? OR (acts_for = ? AND acts_for != ''))")
        values += [only_of, only_of]
    return " AND ".join(clauses) or "1", values


def leading_term(query: SearchQuery) -> tuple[str, str] | None:
    """Return the kind and the value of the term that the query starts with: one without alternatives, since an
    operation can have several of these and would be found as often.
    """
    return next(((kind, values[0]) for kind, values in search_terms(query) if len(values) == 1), None)


def search_terms(query: SearchQuery) -> Iterator[tuple[str, list[str]]]:
    """Yield the kind of each required term, and the values of which it must have one."""
    if rules := names_of(query, "rule"):
        yield "rule", rules
    for name, value in query.parameters.items():
        yield f"p:{name}", [value]
    for name, values in query.parameter_values.items():
        yield f"p:{name}", values


def _any_of(values: Sequence[str]) -> str:
    return f"IN ({', '.join('?' * len(values))})" if len(values) > 1 else "= ?"
