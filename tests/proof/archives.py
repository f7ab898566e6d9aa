"""An artificial journal with all signatures, and archives of it."""

from pathlib import Path
from typing import Any

from msgspec import structs
from tests.contracts.messages import sample

from writ_bus.port import Entry
from writ_contracts import journal, subjects
from writ_contracts.agents import Claim, Receipt
from writ_contracts.catalogue.control import JournalArchive
from writ_contracts.decisions import Decision, Grant
from writ_contracts.ids import operation_id
from writ_contracts.requests import RequestStatement
from writ_contracts.wire import encode
from writ_proof.archive import write
from writ_proof.archive.format import SEAL, ArchiveManifest, digest_of
from writ_proof.bundles import BundleWriter
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, read, sign

POLICY, ALICE, AGENT, MALLORY = (Key(generate_seed()) for _ in range(4))
DIGEST_KEY = "ab" * 32
OPERATIONS = 8


def decision(number: int, **more: Any) -> tuple[Any, Any]:
    """Return policy's decision on a request, and the request's statement."""
    statement = sign(ALICE, sample(RequestStatement))
    facts: dict[str, Any] = {
        "operation_id": id_of(number),
        "principal": "alice",
        "authenticated": "signature",
        "effect": "allow",
    }
    made = structs.replace(
        sample(Decision), **{**facts, "statement_digest": digest(statement), "presence": None, **more}
    )
    return sign(POLICY, made), statement


def id_of(number: int) -> str:
    return operation_id("alice", f"key-{number}")


def events_of(number: int) -> list[Any]:
    """Return the events of one operation, with all signatures."""
    decided, statement = decision(number)
    of = {"operation_id": id_of(number), "id": f"{number:032}", "correlation_id": "c"}
    claim = sign(AGENT, structs.replace(sample(Claim), operation_id=id_of(number)))
    links = {"operation_id": id_of(number), "claim_digest": digest(claim), "decision_digest": digest(decided)}
    grant = sign(POLICY, structs.replace(sample(Grant), **links))
    ended = structs.replace(sample(journal.Finished), output_digest="0" * 64)
    same = {name: getattr(ended, name) for name in ("outcome", "code", "message", "output", "state", "output_digest")}
    reported = structs.replace(sample(Receipt), operation_id=id_of(number), grant_digest=digest(grant), **same)
    receipt = sign(AGENT, structs.replace(reported, instance="text"))
    first: dict[str, Any] = {
        "principal": "alice",
        "decision": decided,
        "statement": statement,
        "look": None,
        "ahead": None,
        **requested_as(decided),
    }
    return [
        structs.replace(sample(journal.Requested), **of, **first),
        structs.replace(sample(journal.Granted), **of, claim=claim, grant=grant, decision=decided),
        structs.replace(ended, **of, receipt=receipt, probe=None, decision=None),
    ]


def requested_as(decided: Any) -> dict[str, Any]:
    """Return the request's fields named in its decision."""
    of = read(decided, Decision)
    return {"operation": of.operation, "target": of.target, "acts_for": of.acts_for}


async def journal_of(operations: int) -> MemoryBus:
    bus = MemoryBus()
    for number in range(operations):
        for expected, event in zip((0, 1, 2), events_of(number), strict=True):
            await append(bus, number, event, 3 * number + expected if expected else 0)
    return bus


async def append(bus: MemoryBus, number: int, event: Any, expected: int) -> None:
    subject = subjects.operation_event("alice", id_of(number), str(event.__struct_config__.tag))
    entry = Entry(
        subject=subject,
        data=encode(event),
        event_id=f"{number}-{expected}",
        filter=subjects.operation_filter("alice", id_of(number)),
        expected=expected,
    )
    await bus.journal.append(entry)


def seal(manifest: ArchiveManifest, **more: Any) -> bytes:
    """Seal it as the executor stores it."""
    expected = JournalArchive(
        generation=manifest.generation,
        first=manifest.first,
        last=manifest.last,
        events=manifest.events,
        digest=digest_of(manifest.encoded()),
        control=manifest.control,
        reason="full",
    )
    body = {name: getattr(expected, name) for name in expected.__struct_fields__}
    facts = {"operation": "journal_archive", "dry_run": False, "parameters_digest": keyed_digest(DIGEST_KEY, body)}
    decided, statement = decision(99, **{**facts, **more})
    event = journal.ControlEvent(
        id=id_of(99),
        at=1.0,
        correlation_id="c",
        kind="journal_archive",
        principal="alice",
        operation_id=id_of(99),
        body=body,
        decision=decided,
        statement=statement,
        parameters_key=DIGEST_KEY,
    )
    return encode(event)


async def make(path: Path, bus: MemoryBus, plan: write.ArchivePlan) -> ArchiveManifest:
    with BundleWriter(path) as writer:
        made = await write.write(bus.journal, writer, plan, [POLICY.public])
        assert made.checked.problems == []
        writer.put(SEAL, seal(made.manifest))
        writer.publish()
    return made.manifest
