"""Search digests: keyed digests of parameters' values that the journal does not have in clear.

Executors write them with a request, under a key of their own, and audit indexes them. For a search audit requests the
digests of the value that is sought. So neither the journal nor audit has the value or the key.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from writ_contracts.ids import TOKEN_PATTERN, PrincipalId
from writ_contracts.requests import Failure

LONGEST_TERM = 200
"""The most characters of a searched value."""
MOST_DIGESTS = 32
"""The most digests of one request."""
MOST_SOUGHT = 144
"""The most values of one search: two filters with 8 names, one with 8 values for each name."""


class SoughtValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The value of a parameter in a search, as text."""

    name: Annotated[str, Meta(max_length=LONGEST_TERM)]
    value: Annotated[str, Meta(max_length=LONGEST_TERM)]


class SearchDigestsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Audit's request for the digests of sought values (`writ.search.digests`). `principal` searches; `operations`: it
    searches these alone.
    """

    principal: PrincipalId
    values: Annotated[list[SoughtValue], Meta(max_length=MOST_SOUGHT)]
    operations: Annotated[list[Annotated[str, Meta(pattern=TOKEN_PATTERN)]], Meta(max_length=32)] = field(
        default_factory=list
    )


class SearchDigestsReply(Struct, frozen=True, kw_only=True):
    """The digests of each value, in the order of the request: one under each of the executors' keys, which `keys`
    names.
    """

    digests: list[list[str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    error: Failure | None = None


def search_texts(value: Any) -> list[str]:
    """Return the texts by which a search finds a parameter's value: one for each item of a list."""
    return [value_text(one) for one in (value if isinstance(value, list) else [value])]


def value_text(value: Any) -> str:
    """Return a text as it is, any other value as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
