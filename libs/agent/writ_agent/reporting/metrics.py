"""Metrics of an agent: operations by outcome, durations of operations and stages, refusals by reason, slots."""

from collections.abc import Callable
from typing import get_args

from writ_agent.backends.target_health import MOST_TARGETS, TargetHealth
from writ_contracts.agents import ReceiptOutcome, SecurityKind
from writ_contracts.operations import Catalogue
from writ_runtime.logs import Log
from writ_runtime.metric_series import AtMost
from writ_runtime.metrics import Metrics, Observer

MOST_BACKENDS = 16
"""Backends with series of their own; plugins bring some."""
ENDPOINTS = ("operation", "look", "cancel")
STAGES = ("look", "claim", "run", "tell")
DEPLOYMENTS = ("image_pull", "container_create", "container_update", "stack_deploy", "stack_update")
"""Operations that fetch images and bring up containers."""


class Meters:
    """The metrics, made once for each process. `observe` takes the one record of each handled message."""

    def __init__(self, metrics: Metrics, catalogue: Catalogue, free_slots: Callable[[], float]) -> None:
        operations = {"operation": list(catalogue)}
        outcomes = {**operations, "outcome": get_args(ReceiptOutcome)}
        kinds = {"reason": get_args(SecurityKind)}
        self.observe = Observer(Log("writ.agent"), metrics)
        self.stages = metrics.histogram(
            "writ_agent_stage_seconds",
            "look: the baseline; claim: until granted; run: on the host; tell: until the receipt is stored.",
            {"stage": STAGES},
        )
        self._ended = metrics.counter("writ_agent_operations_total", "Operations that ended at this agent.", outcomes)
        self._deployments = metrics.counter(
            "writ_agent_deployments_total",
            "Operations that pull images or start containers, and ended at this agent.",
            {"operation": DEPLOYMENTS, "outcome": get_args(ReceiptOutcome)},
        )
        self.seconds = metrics.histogram(
            "writ_agent_operation_seconds", "From grant to end.", {"operation": list(catalogue)}
        )
        self.execution = metrics.histogram(
            "writ_agent_execution_seconds",
            "By backend: from the start on the target to the end there, without NATS and the record.",
            {"backend": AtMost(MOST_BACKENDS)},
        )
        self.refused = metrics.counter("writ_agent_refused_total", "Refused grants, read grants and cancels.", kinds)
        metrics.measure("writ_agent_free_slots", "Free slots: operations that could begin now.", free_slots)

    def count_end(self, operation: str, outcome: str) -> None:
        self._ended.add(operation=operation, outcome=outcome)
        if operation in DEPLOYMENTS:
            self._deployments.add(operation=operation, outcome=outcome)


def show_target_health(metrics: Metrics, target_health: TargetHealth) -> None:
    """Set the gauge of each target this agent tried to reach: 1 if the last try succeeded, else 0 with the reason."""
    metrics.rows(
        "writ_agent_target_reachable",
        "1 if this agent reached the target at its last attempt.",
        ("target", "reason"),
        lambda: {(name, standing.reason): float(standing.well) for name, standing in target_health},
        MOST_TARGETS,
    )
