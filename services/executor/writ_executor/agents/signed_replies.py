"""Signatures of agents' replies to cancels, probes and target tests.

NATS and its configuration do not prove who replied. An unsigned reply counts only where the agent that claimed the
operation, or for a target test an agent of the pool, is of an earlier release.
"""

from writ_bus.port import Message
from writ_contracts.agents import SIGNATURE_HEADER, ReplyStatement
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.journal import Granted, Requested
from writ_contracts.life import GrantedLife
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_executor.agents.presence import AgentPresence
from writ_executor.agents.signed_statements import AgentStatements
from writ_trust.digests import plain_digest


class SignedReplies:
    """Verifies replies of agents. Each forged one is recorded as a security event."""

    def __init__(self, statements: AgentStatements, presence: AgentPresence) -> None:
        self._statements, self._presence = statements, presence

    async def check_claimants(self, life: GrantedLife, sent: bytes, reply: Message) -> None:
        """Check that the agent which claimed the operation replied to the sent request. Raises Untrusted."""
        requested, by = life.requested, life.started
        if SIGNATURE_HEADER in reply.headers:
            await self._open(requested.pool, requested, sent, reply, by)
        elif self._presence.signs_replies(requested.pool, by.instance):
            raise await self._unsigned(requested.pool, requested)

    async def check_any(self, life: GrantedLife, sent: bytes, reply: Message) -> None:
        """Check that an agent of the operation's pool replied to the sent request. Raises Untrusted."""
        requested = life.requested
        if SIGNATURE_HEADER in reply.headers:
            await self._open(requested.pool, requested, sent, reply)
        elif self._presence.signs_replies(requested.pool, life.started.instance):
            if not self._presence.all_sign(requested.pool):  # no forgery: an agent of an earlier release replied
                raise Untrusted("a reply for an agent that signs its replies is not signed", code="bad_signature")
            raise await self._unsigned(requested.pool, requested)

    async def check_pools(self, pool: str, sent: bytes, reply: Message) -> None:
        """Check that an agent of the pool replied to the sent request, which is about no operation. Raises Untrusted,
        Full.
        """
        if SIGNATURE_HEADER in reply.headers:
            await self._open(pool, None, sent, reply)
        elif self._presence.all_sign(pool):
            raise await self._unsigned(pool, None)

    async def _open(
        self, pool: str, requested: Requested | None, sent: bytes, reply: Message, by: Granted | None = None
    ) -> None:
        try:
            signed = decode(reply.headers[SIGNATURE_HEADER].encode(), Signed)
        except Invalid as error:
            raise await self._refused(pool, requested, f"its signature cannot be read: {error}") from error
        statement = await self._statements.open(pool, signed, ReplyStatement, requested)
        if (statement.request, statement.reply) != (plain_digest(sent), plain_digest(reply.data)):
            raise await self._refused(pool, requested, "it was signed for another request, or with another content")
        if by is not None and (signed.key, statement.instance) != (by.claim.key, by.instance):
            raise await self._refused(pool, requested, "it comes from another key or instance than the claim")

    async def _unsigned(self, pool: str, requested: Requested | None) -> Untrusted:
        return await self._refused(pool, requested, "it is not signed")

    async def _refused(self, pool: str, requested: Requested | None, why: str) -> Untrusted:
        return await self._statements.refused(pool, ReplyStatement, why, requested)
