"""The part of `Writ` used by runs over many targets."""

from collections.abc import Mapping
from typing import Any, Protocol

from writ_client.operations.operation_wait import OnEvent, RecordedRequest
from writ_client.operations.request_signing import RequestProof
from writ_client.operations.time_left import TimeLeft
from writ_client.people.approvals import Signer
from writ_contracts.requests import OperationView, RequestReply


class RunsOperations(Protocol):
    """Submits requests, and waits for outcomes."""

    principal: str

    async def submit(
        self,
        operation: str,
        target: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        reason: str = "",
        dry_run: bool = False,
        idempotency_key: str | None = None,
        correlation_id: str | None = None,
        sign: bool = True,
        by: Signer | None = None,
        proof: RequestProof | None = None,
        timeout: float | TimeLeft | None = None,
    ) -> RequestReply:
        """Send one request, as `Writ.submit` does."""

    async def wait(
        self, operation_id: str, *, timeout: float | TimeLeft | None = None, on_event: OnEvent = lambda _: None
    ) -> OperationView:
        """Wait for the outcome, as `Writ.wait` does."""

    async def with_output(self, view: OperationView) -> OperationView:
        """Return the view with the whole output while that is kept, as `Writ.with_output` does."""

    async def request(
        self,
        operation: str,
        target: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        wait: float,
        reason: str = "",
        by: Signer | None = None,
    ) -> RecordedRequest:
        """Send one request and wait for its outcome, as `Writ.request` does."""
