"""Engines in this process: all are loaded and compared first, then timed in turns, so noise meets them alike."""

import gc
import time
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from bench.peers import by_casbin, by_cedar, by_regorus, by_writ, model
from bench.peers.engine import Engine, Loaded, Missing, Refused
from bench.peers.figures import ROUNDS, Gap, Row, best, compare, times

QUESTIONS, FEWEST = 2_000, 100
PATIENCE = 1.0
"""Seconds of one round: an engine that needs longer for all questions gets fewer of them."""
ENGINES: tuple[Engine, ...] = (
    by_writ.InProcess(),
    by_regorus.Table(),
    by_regorus.Rules(),
    by_regorus.Interpreted(),
    by_cedar.Cedar(),
    by_casbin.Fast(),
    by_casbin.Plain(),
)


class Ready(Struct, frozen=True):
    """A loaded engine and as many requests as it is given."""

    engine: Engine
    loaded: Loaded
    seconds: float
    requests: list[Any]


def measure(size: int, engines: Sequence[Engine] = ENGINES) -> tuple[list[Row], list[Gap]]:
    """Measure all engines at this number of rules. Raises Unequal."""
    rules = model.rules(size)
    questions = model.questions(rules, QUESTIONS)
    right = model.answers(rules, questions)
    ready, gaps = [], []
    for engine in engines:
        try:
            ready.append(_loaded(engine, rules, questions))
        except (Missing, Refused) as error:
            gaps.append(Gap(engine=engine.name, rules=size if isinstance(error, Refused) else 0, why=str(error)))
    for each in ready:
        compare(each.engine.name, map(each.loaded.ask, each.requests), right[: len(each.requests)])
    gc.collect()
    rounds = [[times(each.loaded.ask, each.requests) for each in ready] for _ in range(ROUNDS)]
    found = [_row(size, each, [one[place] for one in rounds], right) for place, each in enumerate(ready)]
    return found, gaps


def _loaded(engine: Engine, rules: Sequence[model.Rule], questions: Sequence[model.Question]) -> Ready:
    began = time.perf_counter()
    loaded = engine.load(rules)
    seconds = time.perf_counter() - began
    requests = [loaded.prepare(question) for question in questions]
    once, _ = best([times(loaded.ask, requests[:20])])
    most = int(PATIENCE / (once / 1e6))
    return Ready(engine, loaded, seconds, requests[: max(FEWEST, most)])


def _row(size: int, each: Ready, rounds: Sequence[Sequence[float]], right: Sequence[bool]) -> Row:
    p50, p99 = best(rounds)
    count = len(each.requests)
    return Row(
        engine=each.engine.name,
        rules=size,
        p50=p50,
        p99=p99,
        load=round(each.seconds, 3),
        requests=count,
        allowed=sum(right[:count]),
    )
