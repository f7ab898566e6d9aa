"""The message by which an executor has NATS follow a recorded change of principals."""

from typing import Annotated

from msgspec import Meta, Struct

from writ_contracts.requests import Failure


class ProvisionRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Apply the changes of principals recorded in the journal up to this sequence. The provisioner reads them
    itself.
    """

    sequence: Annotated[int, Meta(ge=1)]


class ProvisionReply(Struct, frozen=True, kw_only=True):
    """`applied`: NATS's users are those of the files and changes, and connections of others have been closed.

    Until then the request is sent again: a reload of NATS loses replies under way between accounts.
    """

    applied: bool = False
    error: Failure | None = None
