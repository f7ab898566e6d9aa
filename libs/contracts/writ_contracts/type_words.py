"""msgspec's messages about a mismatch in the words of the documents: `text` and `whole number`, not `str` and `int`."""

import re

from writ_contracts.ids import in_words

_WORDS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "array": "list",
    "object": "mapping",
    "null": "nothing",
}
_WITHOUT_ARTICLE = ("true or false", "nothing")
_one = f"(?:{'|'.join(_WORDS)})"
_types = re.compile(rf"`({_one}(?: \| {_one})*)`").sub
_BOUNDS = {
    " of length >= ": " with a length of at least ",
    " of length <= ": " with a length of at most ",
    " >= ": " of at least ",
    " <= ": " of at most ",
    " > ": " of more than ",
    " < ": " of less than ",
    " matching regex ": " of the form ",
}


def plain_words(error: str) -> str:
    """Return msgspec's message with the documents' words for types, behind the key that it is about."""
    text, _, place = in_words(error).partition(" - at `$")
    named = _types(_named, text)
    for bound, words in _BOUNDS.items() if named != text else ():
        named = named.replace(bound, words)
    key = place.strip(".`")
    return f"{key}: {named[:1].lower()}{named[1:]}" if key else named[:1].lower() + named[1:]


def _named(found: re.Match[str]) -> str:
    names = [one for one in found[1].split(" | ") if one != "null"] or ["null"]
    words = [_WORDS[one] for one in names]
    return " or ".join(one if one in _WITHOUT_ARTICLE else f"a {one}" for one in words)
