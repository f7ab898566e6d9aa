"""Target tests: an agent of the target's pool tests it under a read grant signed by policy for exactly this test.

Nothing is changed. A refusal is recorded like one of any other read, and a forged report is a security event.
"""

import os
import time

from writ_bus.port import Bus, Message
from writ_bus.sender import sender_key
from writ_contracts import subjects
from writ_contracts.agents import ReadReply, ReadRequest
from writ_contracts.catalogue.control import BACKEND_TEST
from writ_contracts.decisions import DecideRequest, ReadGrant, Subject
from writ_contracts.errors import Denied, TimedOut, Unreachable
from writ_contracts.ids import WRIT_TARGET, encode_id
from writ_contracts.signing import Signed
from writ_contracts.target_tests import BackendTestQuery, BackendTestReply, TargetReport
from writ_contracts.wire import decode, encode
from writ_executor.agents.signed_replies import SignedReplies
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder
from writ_executor.policy.answers import exception_of
from writ_executor.policy.client import CheckedDecision, PolicyClient
from writ_runtime.buckets import Buckets
from writ_trust.statements import read

TEST_SECONDS = 40.0
"""Time for an agent to connect and to read the target."""
RATE, BURST = 1.0, 20.0
"""Recorded refusals of one principal: a second on average, and at once."""


class BackendTests:
    """Target tests: requests a decision from policy, then a test from any agent of the target's pool."""

    def __init__(
        self, bus: Bus, index: Index, vault: Vault, policy: PolicyClient, recorder: Recorder, replies: SignedReplies
    ) -> None:
        self._bus = bus
        self._index = index
        self._vault = vault
        self._policy = policy
        self._recorder = recorder
        self._replies = replies
        self._refusals = Buckets(RATE, BURST)

    async def run(self, principal: str, message: Message, query: BackendTestQuery) -> BackendTestReply:
        """Have an agent test the target, and return its report. Raises Invalid, Denied, Unreachable (`no_agent`) and
        Untrusted (`bad_signature`).
        """
        operation_id = encode_id(os.urandom(16))
        keys = self._vault.new_keys(operation_id)
        subject = Subject(
            operation_id=operation_id,
            principal=principal,
            key=sender_key(message),
            operation=BACKEND_TEST,
            target=WRIT_TARGET,
            parameters={"target": query.target},
            parameters_key=keys.parameters,
        )
        question = DecideRequest(
            subject=subject, control_sequence=self._index.control_sequence, look=["visit"], look_key=keys.read_grant
        )
        decided = await self._policy.decide(question)
        if decided.look is None:
            await self._refuse(principal, query.target, decided)
            raise Denied(decided.decision.reason, code=decided.decision.code)
        return BackendTestReply(visit=await self._run_test(decided.look, keys.read_grant))

    async def _refuse(self, principal: str, target: str, decided: CheckedDecision) -> None:
        if self._refusals.take(principal, time.monotonic()):
            detail = f"{BACKEND_TEST} of target {target}: {decided.decision.code}"
            await self._recorder.security("read_refused", detail, principal=principal)

    async def _run_test(self, signed: Signed, key: str) -> TargetReport:
        grant = read(signed, ReadGrant)
        request = encode(ReadRequest(look=signed, action="visit", parameters={}, look_key=key, timeout=TEST_SECONDS))
        try:
            message = await self._bus.request(subjects.host_read(grant.pool), request, timeout=TEST_SECONDS + 1.0)
        except Unreachable as error:
            raise Unreachable(f"no agent of pool {grant.pool} is online", code="no_agent") from error
        except TimedOut as error:
            silent = f"no agent of pool {grant.pool} replied within {TEST_SECONDS:g} s"
            raise Unreachable(silent, code="no_agent") from error
        await self._replies.check_pools(grant.pool, request, message)
        reply = decode(message.data, ReadReply)
        if reply.visit is not None:
            return reply.visit
        raise exception_of(reply.error) if reply.error else Unreachable(f"the reply of pool {grant.pool} has no test")
