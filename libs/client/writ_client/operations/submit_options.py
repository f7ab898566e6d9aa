"""The options of a request that are the same for one target and for many."""

from typing import TypedDict

from writ_client.people.approvals import Signer


class SubmitOptions(TypedDict, total=False):
    """The options passed by `run` to `submit`."""

    reason: str
    dry_run: bool
    correlation_id: str | None
    sign: bool
    by: Signer | None
