"""A stolen executors' key gets nothing carried out but what policy decided on, with the text whose digest it named.

Policy reads neither the text nor its digest. So the agent's comparison alone shows that the text is that one; the path
and all other values are what policy read.
"""

import secrets
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.attacks.rogue import Rogue, alarm
from tests.e2e.stolen_keys import decided, subject
from tests.rules.asking import CATALOGUE

from writ_bus.port import Bus, Message
from writ_contracts.agents import Claim, ClaimMessage, ClaimReply, SealedParameters
from writ_contracts.decisions import Subject
from writ_contracts.large_texts import LARGE
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_trust.digests import digest_by_texts, keyed_digest, text_digest
from writ_trust.sealing import seal
from writ_trust.statements import read

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXT, OTHER = "x" * LARGE, "y" * LARGE


class Substituting(Rogue):
    """Answers a claim with the grant of policy, and other parameters than it was asked about."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self.carried: dict[str, tuple[dict[str, Any], list[str]]] = {}
        """By operation id: the parameters, and the texts that the agent is to take by their digests."""

    async def _claimed(self, message: Message) -> None:
        request = decode(message.data, ClaimMessage)
        claim = read(request.claim, Claim)
        if claim.operation_id not in self.subjects:
            return
        about = self.subjects[claim.operation_id]
        answer = await self.grant(about, request.claim)
        self.answers.append(answer)
        assert answer.grant is not None, answer
        carried, by_digest = self.carried[claim.operation_id]
        inside = SealedParameters(parameters={**answer.effective, **carried}, parameters_key=about.parameters_key)
        sealed = seal(claim.seal_to, encode(inside))
        await self.bus.publish(
            message.reply, encode(ClaimReply(grant=answer.grant, sealed=sealed, by_digest=by_digest))
        )

    async def start(self, about: Subject, carried: dict[str, Any], by_digest: list[str]) -> None:
        """Have policy decide without the text, record that, and dispatch it to the agent."""
        decision = (await decided(self.bus, about)).decision
        assert decision is not None
        self.carried[about.operation_id] = carried, by_digest
        await self.append(about, self.requested(about, decision, hidden=["content"]))
        await self.dispatch(about)


def asked(installation: RunningInstallation, path: Path, **texts: str) -> Subject:
    about = subject(installation, "file_write", "web-1", {"file_path": str(path), "mode": "0600"})
    return structs.replace(about, texts={"content": text_digest(about.parameters_key, TEXT), **texts})


async def test_agent_refuses_other_parameters_than_policy_decided_on(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    named, evil = files / secrets.token_hex(4), files / secrets.token_hex(4)
    substitutes: list[dict[str, Any]] = [
        {"content": OTHER},
        {"content": TEXT, "mode": "0777"},
        {"content": TEXT, "file_path": str(evil)},
        {"content": TEXT, "encoding": "base64"},
        {"content": TEXT, "timeout": 61},
        {},
    ]
    rogue, abouts = Substituting(executor), []
    with installation.paused("executor"):
        await rogue.listen()
        for substitute in substitutes:
            for by_digest in (["content"], [], ["file_path", "content"]):
                abouts.append(about := asked(installation, named))
                await rogue.start(about, substitute, by_digest)
        for about in abouts:
            await alarm(executor, "mismatched_grant", about.operation_id)  # by audit
    assert {answer.error for answer in rogue.answers} == {None}
    assert (named.exists(), evil.exists()) == (False, False)


async def test_digest_of_other_parameters_does_not_stand_for_a_text(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    named, evil = files / secrets.token_hex(4), files / secrets.token_hex(4)
    key = asked(installation, named).parameters_key
    other = CATALOGUE.find("file_write").check({"file_path": str(evil), "content": TEXT, "mode": "0600"})
    others = {name: value for name, value in other.items() if name != "content"}
    whole = keyed_digest(key, other)
    by_text = digest_by_texts(key, others, {"content": text_digest(key, TEXT)})
    rogue, abouts = Substituting(executor), []
    with installation.paused("executor"):
        await rogue.listen()
        for imitated in (whole, by_text):
            for by_digest in (["content"], []):
                abouts.append(about := asked(installation, named, content=imitated))
                await rogue.start(about, other, by_digest)
        for about in abouts:
            await alarm(executor, "mismatched_grant", about.operation_id)
    assert (named.exists(), evil.exists()) == (False, False)


async def test_agent_carries_out_what_policy_decided_on(
    installation: RunningInstallation, executor: Bus, files: Path
) -> None:
    path, rogue = files / secrets.token_hex(4), Substituting(executor)

    async def written() -> bool:
        return path.exists() and path.read_text() == TEXT

    with installation.paused("executor"):
        await rogue.listen()
        await rogue.start(asked(installation, path), {"content": TEXT}, ["content"])
        await eventually(written, what="the file")
