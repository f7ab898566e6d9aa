"""`test_noop` over the direct and the plain client of NATS, in turns.

`python -m bench nats_client`: the median of p50 and rate over the rounds, at 1 and at 32 in flight. All processes
of the installation and the requester use the same client. ADR 67 is about the difference.
"""

import os
import tempfile
from pathlib import Path
from statistics import median

from bench.end_to_end import ENVIRON, PRINCIPAL, Requester
from bench.timing import Sample, measure
from writ_client.context import Context, open_bus
from writ_testing.installations.installation import running_installation

CLIENTS = ("direct", "plain")
COUNTS = {1: 300, 32: 2_000}
ROUNDS = 5


async def run() -> dict[str, dict[str, dict[str, float]]]:
    """Return all figures, by client and number in flight."""
    samples: dict[str, dict[int, list[Sample]]] = {client: {count: [] for count in COUNTS} for client in CLIENTS}
    before = os.environ.get("WRIT_NATS_CLIENT")
    try:
        for _ in range(ROUNDS):
            for client in CLIENTS:
                os.environ["WRIT_NATS_CLIENT"] = client
                for in_flight, sample in (await _round(client)).items():
                    samples[client][in_flight].append(sample)
    finally:
        os.environ.pop("WRIT_NATS_CLIENT")
        os.environ |= {"WRIT_NATS_CLIENT": before} if before else {}
    return {client: {str(count): _middle(of) for count, of in each.items()} for client, each in samples.items()}


async def _round(client: str) -> dict[int, Sample]:
    with tempfile.TemporaryDirectory() as folder:
        environ = {**ENVIRON, "WRIT_NATS_CLIENT": client}
        async with running_installation(Path(folder), environ=environ) as installation:
            seed = installation.home.seed_file(f"principal-{PRINCIPAL}").read_bytes()
            bus = await open_bus(Context(principal=PRINCIPAL, url=installation.url), seed, wait=10)
            requester = Requester(bus)
            await requester.listen()
            await measure(requester.noop, 8, 200)  # warm
            found = {in_flight: await measure(requester.noop, in_flight, count) for in_flight, count in COUNTS.items()}
            await bus.close()
    return found


def _middle(samples: list[Sample]) -> dict[str, float]:
    return {"p50": median(one.p50 for one in samples), "rate": median(one.rate for one in samples)}


def table(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the table for people: each figure, and plain ÷ direct."""
    lines = ["| in flight | direct p50 ms | plain p50 ms | ratio | direct per s | plain per s | ratio |"]
    lines += ["|--:|--:|--:|--:|--:|--:|--:|"]
    for count in figures["direct"]:
        one, other = figures["direct"][count], figures["plain"][count]
        cells = [f"{one['p50']:.2f}", f"{other['p50']:.2f}", f"{other['p50'] / one['p50']:.2f}"]
        cells += [f"{one['rate']:.0f}", f"{other['rate']:.0f}", f"{other['rate'] / one['rate']:.2f}"]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return "\n".join(lines)
