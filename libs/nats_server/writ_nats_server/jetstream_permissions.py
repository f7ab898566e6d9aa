"""The JetStream subjects of each role, their names in its account, and the form of their replies."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from writ_bus.nats.jetstream import CLOCK, leader_of, purge_of
from writ_bus.nats.journal import USAGE
from writ_contracts import subjects
from writ_contracts.registry import Role

READ = {
    Role.EXECUTOR: (subjects.JOURNAL_STREAM, subjects.POLICIES_STREAM),
    Role.POLICY: (subjects.JOURNAL_STREAM, subjects.POLICIES_STREAM, subjects.SCANS_STREAM),
    Role.AUDIT: (subjects.JOURNAL_STREAM, subjects.POLICIES_STREAM),
}
KEPT = {subjects.PARAMS_STREAM: subjects.PARAMS, subjects.RESULTS_STREAM: subjects.RESULTS}
"""The stores of executors, by stream."""
JOURNAL_INFO = f"$JS.API.STREAM.INFO.{subjects.JOURNAL_STREAM}"
STREAM_LIST = "$JS.API.STREAM.LIST"
"""The usage of all streams, for monitoring. STREAM.INFO would return the subjects of a stream to a requester who asks
for them, and those of the journal name principals, targets and operations.
"""
BATCH_SILENCE = "5s"
"""The pieces of a batch come at once: see `Accounts.service`."""


class LentSubject(Struct, frozen=True):
    """One subject of JetStream's API in an account without JetStream.

    `known_as`: another name for it there. Under its own name such an account's own, empty JetStream answers
    STREAM.INFO and STREAM.MSG.GET too, and STREAM.PURGE is carried out but answered by it with an error.
    """

    subject: str
    known_as: str = ""
    answers: Literal["one", "batch", "many"] = "one"

    @property
    def name(self) -> str:
        """Return the subject on which its users publish."""
        return self.known_as or self.subject


def lent(role: Role, tokens: Mapping[str, str]) -> list[LentSubject]:
    """Return all subjects the role may use."""
    if role is Role.AGENT:
        return _work_of(tokens["pool"])
    read = READ.get(role, ())
    lent_subjects = [LentSubject(f"$JS.API.DIRECT.GET.{stream}", answers="batch") for stream in read]
    kept = KEPT if role is Role.EXECUTOR else {}
    for stream, prefix in kept.items():
        lent_subjects.append(LentSubject(f"$JS.API.DIRECT.GET.{stream}.{prefix}"))
        lent_subjects.append(LentSubject(f"$JS.API.STREAM.PURGE.{stream}", purge_of(stream)))
    lent_subjects += [led(stream) for stream in (*read, *kept)]
    return (
        [*lent_subjects, LentSubject(JOURNAL_INFO, USAGE), LentSubject(JOURNAL_INFO, CLOCK)] if read else lent_subjects
    )


def led(stream: str) -> LentSubject:
    """Return single reads of a stream, by its leader."""
    return LentSubject(f"$JS.API.STREAM.MSG.GET.{stream}", leader_of(stream))


def _work_of(pool: str) -> list[LentSubject]:
    """Return the subjects to pull and to ack; the ack subject has two forms, and the server chooses one."""
    stream, durable = subjects.JOURNAL_STREAM, subjects.consumer(pool)
    names = (
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
        f"$JS.ACK.*.*.{stream}.{durable}.>",
    )
    clock = LentSubject(
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}", CLOCK
    )  # has the server's time, and nothing of others
    return [*(LentSubject(name, answers="many") for name in names), clock]
