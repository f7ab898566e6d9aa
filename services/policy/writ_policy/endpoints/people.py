"""The signed directory of people's credentials, for executors and for principals. It holds no secret."""

from collections.abc import Callable

from writ_bus.port import Endpoint, Message
from writ_bus.sender import sender_key
from writ_contracts import subjects
from writ_contracts.errors import Unreachable
from writ_contracts.people.directory import KNOWN_HEADER, PeopleNotice, PeopleQuery, PeopleReply, PeopleRequest
from writ_contracts.subjects import parse_query
from writ_contracts.wire import decode
from writ_policy.decisions.judge_factory import JudgeFactory
from writ_policy.endpoints.versions import QueryHandler, decode_query
from writ_policy.state.snapshot import PolicySnapshot
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer
from writ_trust.keys import Key
from writ_trust.statements import sign

CONCURRENCY = 16
_log = Log("writ.policy")


class PeopleEndpoints:
    """Serves `writ.policy.people` and the query `people`."""

    def __init__(self, judging: JudgeFactory, observe: Observer, key: Key, clock: Callable[[], float]) -> None:
        """`key`: policy's, which signs notices for agents."""
        self._key, self._clock = key, clock
        self._judging = judging
        self._observe = observe

    def endpoint(self) -> Endpoint:
        """Return the endpoint for executors."""
        respond = endpoint_handler("people", self._of_version, PeopleReply, self._observe, _log)
        return Endpoint(name="people", subject=subjects.POLICY_PEOPLE, handler=respond, concurrency=CONCURRENCY)

    def by_name(self) -> dict[str, QueryHandler]:
        return {"query_people": self._of_principal}

    async def _of_version(self, message: Message) -> PeopleReply:
        request = decode(message.data, PeopleRequest)
        snapshot = (await self._judging.at(0)).snapshot
        number = snapshot.directory.name.number if snapshot.directory is not None else 0
        if number < request.number:
            raise Unreachable(
                f"this replica has not read version {request.number} of people's credentials yet", code="behind"
            )
        if snapshot.directory is None:
            return PeopleReply()
        known = message.headers.get(KNOWN_HEADER) == snapshot.directory.name.digest
        # Signed again for a known directory, too: agents refuse a notice by a key that policy had before a rotation.
        notice = sign(self._key, PeopleNotice(directory=snapshot.directory.name, at=self._clock()))
        return PeopleReply(directory=None if known else snapshot.directory.signed, notice=notice)

    async def _of_principal(self, message: Message) -> PeopleReply:
        decode_query(message, PeopleQuery)
        snapshot = (await self._judging.at(0)).snapshot
        snapshot.principal(parse_query(message.subject)[0], sender_key(message))
        return _directory_reply(snapshot)


def _directory_reply(snapshot: PolicySnapshot) -> PeopleReply:
    return PeopleReply(directory=snapshot.directory.signed if snapshot.directory is not None else None)
