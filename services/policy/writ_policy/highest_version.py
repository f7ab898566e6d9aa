"""The highest version of the policy that this replica ever enforced. A lower version, or another document with the same
number, is refused.

Versions are stored in a stream. An attacker who replaces the stream could otherwise put back an earlier version, which
is signed as well.
"""

from msgspec import Struct

from writ_contracts.policy.versions import StoredPolicy
from writ_runtime.files.state_file import StateFile

FILE = "policy-version.json"


class EnforcedVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version: its number and the digest of its document."""

    number: int = 0
    digest: str = ""


class HighestVersion:
    """The highest version, stored in a file."""

    def __init__(self, file: StateFile[EnforcedVersion], lost: int = 0) -> None:
        """Read the file. `lost`: the operator accepts that versions up to this number are lost. Raises ConfigError."""
        self._file = file
        self._lost = lost
        self._mark = file.read() or EnforcedVersion()

    def refusal(self, head: StoredPolicy | None, stored: int) -> str | None:
        """Return why the latest version of a store with `stored` versions must not be enforced, or None."""
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
        """Store the version, before it is enforced. Raises OSError."""
        mark = EnforcedVersion(number=version.number, digest=version.digest)
        if mark != self._mark:
            self._file.write(mark)
            self._mark = mark
