"""Traces and searches by the beginning of an id."""

from msgspec import structs

from writ_client.client import Writ
from writ_client.whole_ids import is_prefix
from writ_contracts.errors import Invalid
from writ_contracts.history.audit import SearchQuery, SearchReply, TraceReply


async def trace_by_prefix(writ: Writ, text: str) -> TraceReply:
    """Return the trace of the one operation, or of the one correlation id, that begins so. Raises Invalid."""
    try:
        if is_prefix(text):
            return await writ.trace(operation_id=await writ.find_operation(text))
        return await writ.trace(correlation_id=await writ.find_correlation(text))
    except Invalid as error:
        if error.code != "not_found" or not is_prefix(text):
            raise
        return await writ.trace(correlation_id=await writ.find_correlation(text))


async def search_by_prefix(writ: Writ, query: SearchQuery) -> SearchReply:
    """Return the rows; where no operation has the correlation id, those of the one that begins so."""
    answer = await writ.search(query)
    if answer.rows or query.correlation_id is None:
        return answer
    try:
        correlation_id = await writ.find_correlation(query.correlation_id)
    except Invalid as error:
        if error.code != "not_found":
            raise
        return answer
    return await writ.search(structs.replace(query, correlation_id=correlation_id))
