"""Replies to executors under the agent's signature: NATS and its configuration do not prove who replied."""

from msgspec import structs

from writ_agent.reporting.receipts import AgentIdentity
from writ_bus.port import EndpointReply, Message
from writ_contracts.agents import SIGNATURE_HEADER, ProbeFinding, ReadReply, ReadRequest, ReplyStatement
from writ_contracts.decisions import ReadGrant
from writ_contracts.wire import encode
from writ_trust.digests import plain_digest
from writ_trust.statements import digest, sign


def signed_reply(identity: AgentIdentity, request: Message, reply: bytes) -> EndpointReply:
    """Return the reply with its signature, which holds for this request alone."""
    statement = ReplyStatement(
        pool=identity.pool,
        instance=identity.instance,
        request=plain_digest(request.data),
        reply=plain_digest(reply),
    )
    return EndpointReply(reply, {SIGNATURE_HEADER: encode(sign(identity.key, statement)).decode()})


def with_finding(identity: AgentIdentity, ask: ReadRequest, grant: ReadGrant, reply: ReadReply) -> ReadReply:
    """Return the reply to a probe with its signed finding, which the journal keeps: the request has secret keys."""
    finding = ProbeFinding(
        operation_id=grant.operation_id,
        operation=grant.operation,
        target=grant.target.id,
        pool=identity.pool,
        instance=identity.instance,
        look_digest=digest(ask.look),
        attempt=ask.attempt,
        verdict=reply.verdict,
    )
    return structs.replace(reply, finding=sign(identity.key, finding))
