"""Search digests of a request: of each parameter's value that its event does not have in clear.

A digest has 16 bytes of an HMAC under a key for this purpose alone, of the parameter's name and the value as text. The
key is the same for all operations, so equal values of a parameter have equal digests. Secret parameters have none:
anyone who may search could confirm guesses of a PIN.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from writ_contracts import parameters as params
from writ_contracts.history.search_digests import LONGEST_TERM, MOST_DIGESTS, search_texts
from writ_contracts.operations import Operation
from writ_contracts.wire import canonical
from writ_executor.journal.shared_keys import OperationKeys

SIZE = 16


def search_digest(key: bytes, name: str, text: str) -> str:
    digest = hmac.digest(key, canonical([name, text]), "sha256")[:SIZE]
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def hidden_digests(
    keys: OperationKeys, definition: Operation, recorded: Mapping[str, Any], values: Mapping[str, Any]
) -> list[str]:
    """Return the digests of the values that are not among the `recorded` ones and may be searched."""
    searchable = params.searchable(definition.parameters)
    names = [name for name in values if name not in recorded and name in searchable]
    if not names:
        return []
    key, texts = keys.search, ((name, text) for name in names for text in _texts(values[name]))
    return [search_digest(key, name, text) for name, text in list(dict.fromkeys(texts))[:MOST_DIGESTS]]


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a value that a search can name. None is a value that was left out."""
    if value is not None:
        yield from (text for text in search_texts(value) if len(text) <= LONGEST_TERM)
