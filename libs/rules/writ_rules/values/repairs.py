"""Repair combinations of parameters that an operation refuses, by changing those that no rule constrains.

No type expresses `give exactly one of container_name, target_path`. Without repairs no request for such an operation
could be tried, and an analysis would report that everybody is denied.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any

from msgspec import UNSET

from writ_contracts.errors import Invalid
from writ_rules.engine.verbs import Verb
from writ_rules.values.samples import candidates, optional

MOST_CHANGED = 2
MOST_VALUES = (0, 40, 3)
"""Values that are tried for each parameter where none, one or two are changed."""
MOST_FAILURES = 20


class Repairs:
    """Repairs for one operation, with `named` the parameters constrained by rules; a successful change is tried first
    later.
    """

    def __init__(self, verb: Verb, named: Sequence[str]) -> None:
        self._verb = verb
        self._free = [name for name in verb.types if name not in named]
        self._helped: list[Mapping[str, Any]] = [{}]
        self._failures = 0

    def whole(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the parameters, with as few changes as necessary; unchanged, if nothing helps."""
        for change in self._helped:
            made = _changed(parameters, change)
            if self._fits(made):
                return made
        for many in range(1, MOST_CHANGED + 1) if self._failures < MOST_FAILURES else ():
            for names in combinations(self._free, many):
                for values in product(*(self._few(name, MOST_VALUES[many]) for name in names)):
                    change = dict(zip(names, values, strict=True))
                    if self._fits(made := _changed(parameters, change)):
                        self._helped.append(change)
                        return made
        self._failures += 1
        return parameters

    def are_possible(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether some valid request has these parameters."""
        return self._fits(self.whole(parameters))

    def _few(self, name: str, most: int) -> list[Any]:
        absent: list[Any] = [UNSET] if optional(self._verb, name) else []
        return [*absent, *islice(candidates(self._verb, name, ()), most)]

    def _fits(self, parameters: Mapping[str, Any]) -> bool:
        try:
            self._verb.operation.check(parameters)
        except Invalid:
            return False
        return True


def _changed(parameters: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**parameters, **change}.items() if value is not UNSET}
