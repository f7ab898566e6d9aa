"""Scanners: functions that find what is wrong with a target, by the entry point `writ.scanners` of plugins.

A scanner runs in the command `writ scan run`, beside the systems that it queries and never inside a service: in a
process for each target, with a time limit. Its findings go to policy as the report of the principal that runs it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from writ_contracts.evaluators import NoOptions
from writ_contracts.policy.facts import Finding


class Scanner(Struct, frozen=True, kw_only=True):
    """`scan` returns all findings on one target, by its id and options of the type `options`, possibly none.

    It raises WritError where the target cannot be scanned: the earlier report then stays.
    """

    scan: Callable[[str, Any], Sequence[Finding]]
    summary: str
    options: type[Struct] = NoOptions
