"""The highest version of the policy ever enforced here. A lower one, or another one with the same number, is refused.

Versions are kept in a stream. An attacker who can replace the stream could take back a published version: each earlier
one is signed as well.
"""

from msgspec import Struct

from writ_contracts.policies import StoredPolicy
from writ_runtime.state_file import StateFile

FILE = "policy-version.json"


class EnforcedVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version, by its number and its document's digest."""

    number: int = 0
    digest: str = ""


class HighestVersion:
    """The mark of the highest version in a file."""

    def __init__(self, file: StateFile[EnforcedVersion], lost: int = 0) -> None:
        """`lost`: versions up to this number are given up, since their store was lost. Raises ConfigError."""
        self._file = file
        self._lost = lost
        self._mark = file.read() or EnforcedVersion()

    def refusal(self, head: StoredPolicy | None, stored: int) -> str | None:
        """Return the reason why the latest version of a store of `stored` versions must not be enforced, or None."""
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
        """Remember the version before it is enforced. Raises OSError."""
        mark = EnforcedVersion(number=version.number, digest=version.digest)
        if mark != self._mark:
            self._file.write(mark)
            self._mark = mark
