"""Samples of recorded decisions, as audit takes them."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.policy.publishing import publishable
from tests.policy.second_decisions import recorded

from writ_audit.config import AuditConfig
from writ_audit.decision_samples import AFTER, DecisionSamples
from writ_bus.port import Bus
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.journal.security_events import SecurityEvents


async def test_a_record_that_breaks_the_check_is_counted_open_and_ends_nothing(tmp_path: Path) -> None:
    """The stored versions are broken for one record, and whole for the next."""
    async with publishable(tmp_path) as asking:
        about, again = asking.subject(), asking.subject()
        records = [await recorded(asking, one, await asking.decision(one)) for one in (about, again)]
        counted = asyncio.Queue[str]()
        policies = Breaking(asking.bus.policies)
        config = AuditConfig(
            nats_url="nats://127.0.0.1",
            installation="",
            key_file=tmp_path / "audit.seed",
            policy_key=asking.files.keys["policy"].public,
            state_dir=tmp_path / "audit",
            inventory=asking.files.path("inventory"),
            principals=asking.files.path("principals"),
            recheck_one_in=1,
            recheck_rate=100.0,
        )
        samples = DecisionSamples(
            config,
            cast(Bus, SimpleNamespace(journal=asking.bus.journal, policies=policies)),
            PolicyKeys(config.policy_key, None),
            SecurityEvents(asking.bus.journal, asking.clock, print),
            counted.put_nowait,
            lambda: asking.clock.now + AFTER,
        )
        running = asyncio.create_task(samples.run())
        try:
            async with asyncio.timeout(20):
                for record, result in zip(records, ("open", "same"), strict=True):
                    samples.offer(record)
                    assert await counted.get() == result
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class Breaking:
    """Breaks the first reading by an unexpected error."""

    def __init__(self, policies: Any) -> None:
        self._policies = policies
        self._broken = False

    async def read(self, *arguments: Any, **more: Any) -> Any:
        if not self._broken:
            self._broken = True
            raise ValueError("an error that nobody foresaw")
        return await self._policies.read(*arguments, **more)
