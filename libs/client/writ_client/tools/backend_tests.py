"""`test_all_backends`: how the agents of every target find it, by backend."""

from msgspec import Struct, field

from writ_client.client import Writ
from writ_client.many_targets import on_targets
from writ_contracts.errors import WritError
from writ_contracts.target_tests import TargetReport


class BackendResult(Struct, frozen=True, kw_only=True):
    """One backend. `status`: `ok`, `degraded` where some targets are not well, `failed` where none is.

    `problems`: the code and the message for each target with a problem.
    """

    status: str
    targets: int
    problems: dict[str, str] = field(default_factory=dict)


async def test_all_backends(writ: Writ) -> dict[str, BackendResult]:
    """Have the agents test every target; the results by backend. Needs `backend_test`."""
    targets_of: dict[str, list[str]] = {}
    for target in await writ.targets():
        targets_of.setdefault(target.backend, []).append(target.id)
    everything = [target for targets in targets_of.values() for target in targets]
    found = await on_targets(everything, writ.backend_test)
    return {
        backend: _result({target: found[target] for target in targets})
        for backend, targets in sorted(targets_of.items())
    }


test_all_backends.__test__ = False  # type: ignore[attr-defined]  # its name is the specification's; pytest takes it for a test


def _result(found: dict[str, TargetReport | WritError]) -> BackendResult:
    problems = {target: _problem(visit) for target, visit in found.items() if not _well(visit)}
    status = "ok" if not problems else "failed" if len(problems) == len(found) else "degraded"
    return BackendResult(status=status, targets=len(found), problems=problems)


def _well(visit: TargetReport | WritError) -> bool:
    return isinstance(visit, TargetReport) and visit.well


def _problem(visit: TargetReport | WritError) -> str:
    message = visit.message if isinstance(visit, TargetReport) else str(visit)
    return f"{visit.code}: {message}"
