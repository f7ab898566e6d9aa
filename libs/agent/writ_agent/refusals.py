"""The refusal of a message policy would not sign, which becomes a security event."""

from writ_contracts.agents import SecurityKind
from writ_contracts.errors import Untrusted


class SecurityRefusal(Untrusted):
    """Raised for a message policy would not sign for this use. `kind`: of the security event."""

    default_code = "grant_refused"

    def __init__(self, kind: SecurityKind, message: str) -> None:
        super().__init__(message)
        self.kind: SecurityKind = kind
