"""The numbers of an agent: operations by outcome, how long they took, refused grants by reason, slots."""

from collections.abc import Callable
from typing import get_args

from writ_contracts.agents import ReceiptOutcome, SecurityKind
from writ_contracts.operations import Catalogue
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer

ENDPOINTS = ("operation", "look", "cancel")


class Meters:
    """Made once for each process. `observe` takes the one record of each handled message."""

    def __init__(self, metrics: Metrics, catalogue: Catalogue, free_slots: Callable[[], float]) -> None:
        operations = {"operation": list(catalogue)}
        outcomes = {**operations, "outcome": get_args(ReceiptOutcome)}
        kinds = {"reason": get_args(SecurityKind)}
        self.observe = Observer(Log("writ.agent"), metrics)
        self.ended = metrics.counter("writ_agent_operations_total", "Operations that ended here.", outcomes)
        self.seconds = metrics.histogram(
            "writ_agent_operation_seconds", "From grant to end.", {"operation": list(catalogue)}
        )
        self.refused = metrics.counter("writ_agent_refused_total", "Grants, looks, cancels that did not hold.", kinds)
        metrics.measure("writ_agent_free_slots", "Operations that could begin now.", free_slots)
