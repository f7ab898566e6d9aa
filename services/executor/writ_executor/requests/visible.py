"""The part of the inventory that a requester may list. Policy decides it; a reply of the executor shows no more."""

from collections.abc import Collection, Iterator
from itertools import islice

from msgspec import structs

from writ_contracts.errors import Invalid, TimedOut, Unreachable
from writ_contracts.policy.listing import MOST_TARGETS, VisibleReply
from writ_contracts.requests import TargetView
from writ_contracts.wire import encode
from writ_executor.policy.client import PolicyClient
from writ_executor.requests.pages import PAGE_BYTES, first_page

LISTING_SECONDS = 1.5
"""A person waits for a list: a refusal with its reason is better than a client that gives up."""


class TargetVisibility:
    """The targets that a principal may list, as policy decides for each."""

    def __init__(self, policy: PolicyClient) -> None:
        self._policy = policy

    async def first_page(self, principal: str, key: str, views: Iterator[TargetView]) -> tuple[list[TargetView], bool]:
        """Return the first of the targets that it may list, and whether there are more of them. Raises as
        `PolicyClient.decide` does, and Unreachable within seconds where policy is silent.
        """
        if not (await self._request_visible(principal, key, [])).limited:
            return first_page(views)
        found, size = list[TargetView](), 0
        while size <= PAGE_BYTES and (some := list(islice(views, MOST_TARGETS))):
            kept = await self._kept(principal, key, some)
            size += sum(len(encode(view)) for view in kept)
            found += kept
        return first_page(found)

    async def _kept(self, principal: str, key: str, views: list[TargetView]) -> list[TargetView]:
        answer = await self._request_visible(principal, key, [view.id for view in views])
        if not answer.limited:
            return views
        known = answer.operations
        return [_limited(view, known[view.id]) for view in views if view.id in known]

    async def _request_visible(self, principal: str, key: str, targets: list[str]) -> VisibleReply:
        try:
            return await self._policy.visible(principal, key, targets, LISTING_SECONDS)
        except TimedOut as error:
            raise Unreachable(
                f"policy does not answer (waited {LISTING_SECONDS} s), and it alone knows which targets may be listed: "
                "see `writ status`",
                code="policy_silent",
            ) from error

    async def require(self, principal: str, key: str, target: str) -> None:
        """Raises Invalid (`unknown_target`), as policy does, if the principal may not list the target."""
        answer = await self._policy.visible(principal, key, [target])
        if answer.limited and target not in answer.operations:
            raise Invalid(f"no target {target!r} in the inventory", code="unknown_target")


def _limited(view: TargetView, known: Collection[str]) -> TargetView:
    """Return the view with the known operations alone."""
    lacking = {name: one for name, one in view.lacking.items() if name in known}
    return structs.replace(view, operations=[name for name in view.operations if name in known], lacking=lacking)
