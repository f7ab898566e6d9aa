"""Arguments that the client refuses, so that they leave no record: those that the services would refuse, in plainer
words, and those that Python would take for something else.
"""

from collections.abc import Iterable

import msgspec

from writ_contracts.errors import Invalid
from writ_contracts.ids import IdempotencyKey
from writ_contracts.requests import LONGEST_REASON


def refuse_long_reason(reason: str) -> None:
    """Raises Invalid for a reason that a request or an approval cannot carry."""
    if len(reason) > LONGEST_REASON:
        raise Invalid(f"the reason has {len(reason):,} characters, and {LONGEST_REASON:,} at most are recorded")


def refuse_bad_key(idempotency_key: str) -> None:
    """Raises Invalid for what is no idempotency key."""
    try:
        msgspec.convert(idempotency_key, IdempotencyKey)
    except msgspec.ValidationError:
        raise Invalid("an idempotency key has 1 to 128 printable ASCII characters, without spaces") from None


def distinct(targets: Iterable[str]) -> list[str]:
    """Return the names, each once. Raises Invalid for a text, whose letters would be taken for names."""
    if isinstance(targets, str):
        raise Invalid(f"targets are a list of names, such as [{targets!r}], not a text")
    return list(dict.fromkeys(targets))


def refuse_below_one(**limits: int | None) -> None:
    """Raises Invalid for a limit below 1, such as a share of few targets that was rounded to 0."""
    for name, limit in limits.items():
        if limit is not None and limit < 1:
            raise Invalid(f"{name} is {limit}, and must be 1 or more")
