"""The highest version of the policy that was ever enforced here: one that is lower, or another one, is refused.

Versions are kept in a stream. Whoever can replace that stream could take a version back that was published and signed:
each earlier version is signed as well.
"""

from msgspec import Struct

from writ_contracts.policies import StoredPolicy
from writ_runtime.state_file import StateFile

FILE = "policy-version.json"


class EnforcedVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version, by its number and the digest of its document."""

    number: int = 0
    digest: str = ""


class HighestVersion:
    """The mark of it in a file."""

    def __init__(self, file: StateFile[EnforcedVersion], lost: int = 0) -> None:
        """`lost`: versions up to this number are given up, since their store was lost. Raises ConfigError."""
        self._file = file
        self._lost = lost
        self._mark = file.read() or EnforcedVersion()

    def refusal(self, head: StoredPolicy | None, stored: int) -> str | None:
        """Why the version at the head of a store that ends at `stored` must not be enforced, if so."""
        mark = self._mark
        if mark.number <= self._lost:
            return None
        if head is None or head.number < mark.number:
            number = head.number if head else 0
            return f"version {mark.number} was enforced here, and the store ({stored} versions) goes back to {number}"
        if head.number == mark.number and head.digest != mark.digest:
            return f"version {mark.number} was enforced here, and the store has another document under this number"
        return None

    def note(self, version: StoredPolicy) -> None:
        """Remember it before it is enforced. Raises OSError."""
        mark = EnforcedVersion(number=version.number, digest=version.digest)
        if mark != self._mark:
            self._file.write(mark)
            self._mark = mark
