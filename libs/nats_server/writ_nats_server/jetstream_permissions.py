"""What of JetStream's own subjects each role may use, and under which name."""

from collections.abc import Mapping

from writ_bus.nats.jetstream import CLOCK, leader_of
from writ_bus.nats.journal import USAGE
from writ_contracts import subjects
from writ_contracts.registry import Role

READ = {
    Role.EXECUTOR: (subjects.JOURNAL_STREAM, subjects.POLICIES_STREAM),
    Role.POLICY: (subjects.JOURNAL_STREAM, subjects.POLICIES_STREAM, subjects.SCANS_STREAM),
    Role.AUDIT: (subjects.JOURNAL_STREAM,),
}
KEPT = {subjects.PARAMS_STREAM: subjects.PARAMS, subjects.RESULTS_STREAM: subjects.RESULTS}
"""What executors keep for a while, by stream."""
JOURNAL_INFO = f"$JS.API.STREAM.INFO.{subjects.JOURNAL_STREAM}"


def under_their_own_name(role: Role, tokens: Mapping[str, str]) -> list[str]:
    """Subjects that are the same in every account."""
    if role is Role.AGENT:
        return _work_of(tokens["pool"])
    allowed = [f"$JS.API.DIRECT.GET.{stream}" for stream in READ.get(role, ())]
    if role is Role.EXECUTOR:
        for stream, prefix in KEPT.items():
            allowed += [f"$JS.API.DIRECT.GET.{stream}.{prefix}", f"$JS.API.STREAM.PURGE.{stream}"]
    return allowed


def under_another_name(role: Role, tokens: Mapping[str, str]) -> dict[str, str]:
    """By the name that the role uses: an account without JetStream asks its own, empty one when it says $JS.API."""
    if role is Role.AGENT:  # the answer about its own consumer has the server's time, and nothing of others
        return {CLOCK: f"$JS.API.CONSUMER.INFO.{subjects.JOURNAL_STREAM}.{subjects.consumer(tokens['pool'])}"}
    kept = KEPT if role is Role.EXECUTOR else ()
    read = {leader_of(stream): f"$JS.API.STREAM.MSG.GET.{stream}" for stream in (*READ.get(role, ()), *kept)}
    return read | ({USAGE: JOURNAL_INFO, CLOCK: JOURNAL_INFO} if role in READ else {})


def _work_of(pool: str) -> list[str]:
    """To pull and to ack; the ack subject has two forms, and which one a server uses is its choice."""
    stream, durable = subjects.JOURNAL_STREAM, subjects.consumer(pool)
    return [
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
        f"$JS.ACK.*.*.{stream}.{durable}.>",
    ]
