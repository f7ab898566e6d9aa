"""Claims: request the start of one dispatched operation from an executor. A claim is signed once and sent with the same
bytes every time.

A lost answer may leave a stored `granted`. The same claim then gets the same grant again; another claim would get
none. So a sent claim is repeated until its fate is known, or the agent reports the operation as not begun.

NATS may deliver a claim to an executor whose connection hangs, and goes on to choose that one for a while. So a claim
is repeated early, while the reply to the first may still come.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from msgspec import structs

from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.verification import SentClaim
from writ_bus import tasks
from writ_bus.errors import Forbidden, Full, TimedOut, Unreachable
from writ_bus.port import Bus, Delivery
from writ_contracts import subjects
from writ_contracts.agents import (
    LARGEST_CLAIM_REPLY,
    STARTED_HEADER,
    TEXTS_APART,
    TEXTS_HEADER,
    Claim,
    ClaimMessage,
    ClaimReply,
)
from writ_contracts.attached_bytes import detach
from writ_contracts.errors import Invalid, WritError
from writ_contracts.journal import Dispatched
from writ_contracts.plugins import PluginDigests
from writ_contracts.requests import Failure
from writ_contracts.wire import decode, encode
from writ_runtime.logs import Log
from writ_trust.sealing import SealKey, has_aes
from writ_trust.statements import sign

ASK_SECONDS = 5.0
REPEAT_SECONDS = 2.0
"""Seconds after which a claim without a reply is sent again, perhaps to another executor."""
PATIENCE = 12.0
"""Less than a grant's lifetime: a later reply is useless."""
_PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)
_UNCERTAIN = frozenset({"timeout", "internal"})
"""Codes after which `granted` may be stored all the same."""
_READS_TEXTS = {TEXTS_HEADER: TEXTS_APART} if has_aes() else {}
_log = Log("writ.agent")


class SealKeys:
    """Makes the keys to which parameters are sealed, one for each claim. The next one is made ahead, when an operation
    has ended, since nobody waits then.
    """

    def __init__(self) -> None:
        self._next: SealKey | None = None

    def take(self) -> SealKey:
        """Return a key that nobody else gets."""
        key, self._next = self._next, None
        return SealKey() if key is None else key

    def make_ahead(self) -> None:
        """Make the key for the next claim, if there is none."""
        if self._next is None:
            self._next = SealKey()


def make_claim(
    identity: AgentIdentity,
    work: Dispatched,
    baseline: dict[str, Any],
    now: float,
    plugins: PluginDigests,
    seal: SealKey,
) -> SentClaim:
    """Make a unique claim with a fresh nonce. Its time runs from `now` (boot clock).

    `seal`: the key for the parameters, of this claim alone.
    """
    claim = Claim(
        operation_id=work.operation_id,
        attempt=work.attempt,
        pool=identity.pool,
        instance=identity.instance,
        nonce=os.urandom(32).hex(),
        seal_to=seal.public,
        decision_digest=work.decision_digest,
        baseline=baseline,
        plugins=plugins,
        host=identity.host,
    )
    return SentClaim(
        work=work, claim=claim, signed=sign(identity.key, claim), seal=seal, sent_at=now, started=identity.started
    )


async def send_claim(
    bus: Bus,
    claimed: SentClaim,
    delivery: Delivery,
    gave_up: Callable[[], bool],
    boot: Callable[[], float],
    declined: Callable[[Failure], None],
) -> ClaimReply:
    """Return the executor's answer. An answer with an error is certain: this claim started nothing. One to a claim that
    was sent before, without a reply, is not.

    Raises Unreachable, Full, Forbidden (nothing was done) or TimedOut (it may have started). `gave_up` returns True
    when this process has no time left; `boot` is the boot clock. `declined` is
    called with each error after which the claim is sent again.
    """
    body = encode(ClaimMessage(claim=claimed.signed, principal=claimed.work.principal))
    uncertain = False  # a certain no is worth a few more tries soon (a policy replica that is behind, say)
    sent: set[asyncio.Task[ClaimReply | None]] = set()
    try:
        for turn in range(1000):
            sent.add(tasks.start(_send_once(bus, claimed, body, declined), "claim"))
            await asyncio.sleep(0)  # it is sent
            answer, waited = await _next_reply(sent, uncertain, ASK_SECONDS if gave_up() else REPEAT_SECONDS)
            uncertain = uncertain or answer is None or bool(sent)
            soon = turn < 3 and boot() - claimed.sent_at < PATIENCE / 2
            if answer is not None and not (_retry(answer.error) and (uncertain or soon)):
                if answer.error is None or not uncertain:
                    return answer
                if (granted := await _grant_among(sent)) is not None:
                    return granted
                break  # it may be stored later: a former leader of the journal refuses what it holds back itself
            # A reload of NATS loses answers under way: a process that stops sends its claim once more, too.
            if (gave_up() and turn > 0) or boot() - claimed.sent_at > PATIENCE:
                break
            await _working(delivery)
            if not waited:
                await asyncio.sleep(_PAUSES[min(turn, len(_PAUSES) - 1)])
    finally:
        for one in sent:
            one.cancel()
        await asyncio.gather(*sent, return_exceptions=True)
    raise TimedOut(f"no certain reply to the claim of {claimed.work.operation_id}")


async def _next_reply(
    sent: set[asyncio.Task[ClaimReply | None]], uncertain: bool, seconds: float
) -> tuple[ClaimReply | None, bool]:
    """Return the first reply to any of the claims in `sent`, None where its fate is unknown, and whether the time is
    up. Ended claims are removed. Raises what `_send_once` raises, if no other claim may have started the operation.
    """
    ended, _ = await asyncio.wait(sent, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    sent -= ended
    uncertain = uncertain or bool(sent)
    replies = []
    for one in ended:
        if (error := one.exception()) is None:
            replies.append(one.result())
        elif not uncertain or not isinstance(error, WritError):
            raise error
    known = [reply for reply in replies if reply is not None]
    return min(known, key=lambda reply: reply.error is not None, default=None), not ended


async def _grant_among(sent: set[asyncio.Task[ClaimReply | None]]) -> ClaimReply | None:
    """Return a grant that still comes; None if none does. One executor's no, by files that it has not read again, say,
    is not another one's, which may have stored `granted` already.
    """
    while sent:
        answer, _ = await _next_reply(sent, uncertain=True, seconds=ASK_SECONDS)
        if answer is not None and answer.error is None:
            return answer
    return None


async def _send_once(
    bus: Bus, claimed: SentClaim, body: bytes, declined: Callable[[Failure], None]
) -> ClaimReply | None:
    """Return the reply; None where `granted` may be stored unknown to this agent. Raises Unreachable, Full and
    Forbidden: nothing was done.
    """
    try:
        headers = {STARTED_HEADER: repr(claimed.started), **_READS_TEXTS}
        reply = await bus.request(subjects.claim(claimed.claim.pool), body, timeout=ASK_SECONDS, headers=headers)
        content, texts = detach(reply.data)
        answer = decode(content, ClaimReply, limit=LARGEST_CLAIM_REPLY)
    except (Unreachable, Full, Forbidden):
        raise
    except (WritError, Invalid) as error:
        _log.warning("agent.claim_unanswered", operation_id=claimed.work.operation_id, error=str(error))
        return None
    if answer.error is not None and answer.error.retry:
        declined(answer.error)
    if answer.error is not None and answer.error.code in _UNCERTAIN:
        return None
    return structs.replace(answer, texts=texts) if texts else answer


def _retry(error: Failure | None) -> bool:
    return error is not None and error.retry


async def _working(delivery: Delivery) -> None:
    try:
        await delivery.working()
    except WritError as error:
        _log.debug("agent.working_not_sent", error=str(error))
