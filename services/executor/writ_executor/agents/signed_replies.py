"""Signatures of agents' replies to cancels, probes and target tests.

NATS and its configuration do not prove who replied, so an unsigned reply is a forged one.
"""

from writ_bus.port import Message
from writ_contracts.agents import SIGNATURE_HEADER, ReplyStatement
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.journal import Requested
from writ_contracts.life import GrantedLife
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_executor.agents.signed_statements import AgentStatements
from writ_trust.digests import plain_digest


class SignedReplies:
    """Verifies replies of agents. Each forged one is recorded as a security event."""

    def __init__(self, statements: AgentStatements) -> None:
        self._statements = statements

    async def check_claimants(self, life: GrantedLife, sent: bytes, reply: Message) -> None:
        """Check that the agent which claimed the operation replied to the sent request. Raises Untrusted, Full."""
        by, requested = life.started, life.requested
        key, instance = await self._signer(requested.pool, requested, sent, reply)
        if (key, instance) != (by.claim.key, by.instance):
            raise await self._refused(requested.pool, requested, "it comes from another key or instance than the claim")

    async def check_any(self, life: GrantedLife, sent: bytes, reply: Message) -> None:
        """Check that an agent of the operation's pool replied to the sent request. Raises Untrusted, Full."""
        await self._signer(life.requested.pool, life.requested, sent, reply)

    async def check_pools(self, pool: str, sent: bytes, reply: Message) -> None:
        """Check that an agent of the pool replied to the sent request, which is about no operation. Raises Untrusted,
        Full.
        """
        await self._signer(pool, None, sent, reply)

    async def _signer(self, pool: str, requested: Requested | None, sent: bytes, reply: Message) -> tuple[str, str]:
        """Return the key and the instance of the agent that signed the reply."""
        if SIGNATURE_HEADER not in reply.headers:
            raise await self._refused(pool, requested, "it is not signed")
        try:
            signed = decode(reply.headers[SIGNATURE_HEADER].encode(), Signed)
        except Invalid as error:
            raise await self._refused(pool, requested, f"its signature cannot be read: {error}") from error
        statement = await self._statements.open(pool, signed, ReplyStatement, requested)
        if (statement.request, statement.reply) != (plain_digest(sent), plain_digest(reply.data)):
            raise await self._refused(pool, requested, "it was signed for another request, or with another content")
        return signed.key, statement.instance

    async def _refused(self, pool: str, requested: Requested | None, why: str) -> Untrusted:
        return await self._statements.refused(pool, ReplyStatement, why, requested)
