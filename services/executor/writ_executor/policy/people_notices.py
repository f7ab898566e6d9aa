"""Notices of the directory of people's credentials for agents that know an older version.

An agent gets the directory with a grant by an approval of a proven presence, which may be long after a people-key was
replaced. Until then the former key and policy's together could show it another successor.
"""

import asyncio

from msgspec import Struct

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.people.directory import (
    KNOWN_HEADER,
    PeopleDirectory,
    PeopleNoticeMessage,
    PeopleReply,
    PeopleRequest,
)
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_executor.agents.presence import AgentPresence
from writ_runtime.logs import Log
from writ_trust.statements import digest, read

EVERY, SELDOM = 5.0, 300.0
"""Seconds between two looks, and the longest pause between two notices to a pool that does not take one."""
TIMEOUT = 5.0

_log = Log("writ.executor")


class SentNotice(Struct, frozen=True):
    """The last notice to a pool: its directory, when it was sent (boot clock), and the pause until the next one."""

    digest: str
    at: float
    pause: float


class PeopleNotices:
    """Requests the directory from policy, and sends it to pools with agents that are behind."""

    def __init__(self, bus: Bus, presence: AgentPresence) -> None:
        self._bus, self._presence = bus, presence
        self._directory: Signed | None = None
        self._notice: Signed | None = None
        self._number = 0
        self._sent: dict[str, SentNotice] = {}
        self.ahead: list[str] = []
        """The agents with a newer directory than policy had at the last look."""

    async def run(self) -> None:
        """Send due notices every few seconds, until cancelled; none while no agent pins a people-key."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.send_due()
            except WritError as error:
                _log.debug("people.not_sent", error=str(error))

    async def send_due(self) -> None:
        """Send the directory in force where it is needed. Raises WritError."""
        pinning = [agent for agent in self._presence.all_agents() if agent.people is not None]
        self.ahead = []
        if not pinning:
            return
        await self._refresh()
        self.ahead = [
            f"{agent.instance} of pool {agent.pool} has version {agent.people}, policy {self._number}"
            for agent in pinning  # their versions before the request to policy
            if (agent.people or 0) > self._number
        ]
        if self._directory is None or self._notice is None:
            return
        data = encode(PeopleNoticeMessage(notice=self._notice, directory=self._directory))
        behind = {agent.pool for agent in pinning if (agent.people or 0) < self._number}
        self._sent = {pool: sent for pool, sent in self._sent.items() if pool in behind}
        for pool in sorted(behind):
            if self._is_due(pool, digest(self._directory)):
                await self._bus.publish(subjects.people_notice(pool), data)

    async def _refresh(self) -> None:
        headers = {KNOWN_HEADER: digest(self._directory)} if self._directory is not None else None
        message = await self._bus.request(
            subjects.POLICY_PEOPLE, encode(PeopleRequest(number=0)), timeout=TIMEOUT, headers=headers
        )
        answer = decode(message.data, PeopleReply)
        if answer.notice is None:  # policy has none, or has lost it
            self._directory, self._notice, self._number = None, None, 0
            return
        self._notice = answer.notice.detached()
        if answer.directory is not None:
            self._directory = answer.directory.detached()
            self._number = read(self._directory, PeopleDirectory).number

    def _is_due(self, pool: str, name: str) -> bool:
        """Return whether to send it now. A pool's key could claim without end that its agents are behind."""
        now, last = asyncio.get_running_loop().time(), self._sent.get(pool)
        if last is not None and last.digest == name and now < last.at + last.pause:
            return False
        pause = EVERY if last is None or last.digest != name else min(last.pause * 2, SELDOM)
        self._sent[pool] = SentNotice(name, now, pause)
        return True
