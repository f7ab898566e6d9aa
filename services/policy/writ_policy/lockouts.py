"""Lockouts: operations by which people govern the installation, and which nobody could carry out under a policy.

The analysis of policies finds them. It is loaded when it is first needed: it is large, and few requests need it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from writ_contracts.inventory import Principal
from writ_rules.engine.compile import Policy

if TYPE_CHECKING:
    from writ_rules.analysis.lockout import Lockout


def find_lockouts(policy: Policy, principals: Sequence[Principal], now: float) -> "list[Lockout]":
    """Return the governing operations that nobody could carry out any more under this policy. `now`: Unix seconds."""
    from writ_rules.analysis.lockout import lockouts  # noqa: PLC0415 - heavy, and seldom used

    return lockouts(policy, principals, now)
