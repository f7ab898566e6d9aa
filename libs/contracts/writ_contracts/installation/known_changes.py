"""The changes of principals in the file that the provisioner keeps for processes that do not read the journal."""

from msgspec import Struct

from writ_contracts.catalogue.control import PrincipalManage


class VerifiedChange(Struct, frozen=True, kw_only=True):
    """A change and its operation."""

    operation_id: str
    change: PrincipalManage


class KnownChanges(Struct, frozen=True, kw_only=True):
    """The verified changes in their order.

    Nothing else is kept: NATS and the streams are set up again whenever the file changes. Earlier releases also wrote
    the sequence of the journal's last control event into it.
    """

    changes: list[VerifiedChange] = []
