"""Replies to executors under the agent's signature: NATS and its configuration do not prove who replied."""

from writ_agent.reporting.receipts import AgentIdentity
from writ_bus.port import EndpointReply, Message
from writ_contracts.agents import SIGNATURE_HEADER, ReplyStatement
from writ_contracts.wire import encode
from writ_trust.digests import plain_digest
from writ_trust.statements import sign


def signed_reply(identity: AgentIdentity, request: Message, reply: bytes) -> EndpointReply:
    """Return the reply with its signature, which holds for this request alone."""
    statement = ReplyStatement(
        pool=identity.pool,
        instance=identity.instance,
        request=plain_digest(request.data),
        reply=plain_digest(reply),
    )
    return EndpointReply(reply, {SIGNATURE_HEADER: encode(sign(identity.key, statement)).decode()})
