"""The engine against the reference evaluator on 1,000,000 generated cases (`python -m bench reference`).

A policy in ten thousand does not load, hence ten seeds more. The first disagreement ends it with the seed of its case.
`python -m bench.reference FIRST LAST` is for some of the seeds alone, each of which is a policy with 100 questions.
"""

import sys
from collections import Counter

from tests.rules.test_reference import cases

SEEDS = range(1_000_000, 1_010_010)
QUESTIONS = 100
CHAINED = 5
"""One policy in so many is about defaults by which other rules match."""


class Disagreement(Exception):
    """The two evaluators decide one case differently."""


async def run(seeds: range = SEEDS) -> Counter[str]:
    """Return the number of cases by code of their decision."""
    met = Counter[str]()
    for seed in seeds:
        for _, asked, facts, expected, got in cases(seed, QUESTIONS, chained=seed % CHAINED == 0):
            if got != expected:
                raise Disagreement(f"seed {seed}: {asked} {facts}: the reference says {expected}, the engine {got}")
            met[expected.get("code", "invalid")] += 1
    return met


def table(met: Counter[str]) -> str:
    """Return the table as Markdown."""
    lines = [f"{sum(met.values())} cases, no disagreement", "", "| code | cases |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{code}` | {count} |" for code, count in met.most_common())])


if __name__ == "__main__":
    import asyncio

    print(table(asyncio.run(run(range(int(sys.argv[1]), int(sys.argv[2]))))))
