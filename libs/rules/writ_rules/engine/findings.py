"""What is wrong with a policy, each with the way to the place in its file. Finding them all is the point."""

from enum import StrEnum

from msgspec import Struct

Keys = tuple[str | int, ...]


class Severity(StrEnum):
    """`error`: the file can't be used. `lint`: a rule can't do what it says, which mode `strict` refuses.
    `warning`: a rule does less than it says, or the file says something risky.
    """

    ERROR = "error"
    LINT = "lint"
    WARNING = "warning"


class Finding(Struct, frozen=True):
    """One of them. `at_key`: it is about the key, not the value."""

    severity: Severity
    keys: Keys
    message: str
    at_key: bool = False
