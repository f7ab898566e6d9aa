"""Words of a list that a newer release may make longer.

Writers are bound to the list by the type checker. Readers take any word of this form: an operation, event
or view with a word of a newer release is kept, shown and passed on. Where something depends on the word, only known
words have an effect, and any other has that of the most careful one.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from msgspec import Meta

WORD = r"^[a-z][a-z0-9_]{0,39}(?!\n)$"

if TYPE_CHECKING:
    T = TypeVar("T")
    Extensible = Annotated[T, "extensible"]
else:

    class Extensible:
        """`Extensible[Outcome]`: a word of `Outcome`, or of what a newer release has added to it."""

        def __class_getitem__(cls, known: Any) -> Any:
            words = get_args(known)
            schema = {"x-extensible-enum": list(words)}
            return Annotated[str, Meta(pattern=WORD, extra_json_schema=schema, extra={"known": words})]
