"""The dashboard of pools and backends: agents, waiting operations, duration of work, unreachable targets."""

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models.dashboard import VariableRefresh

from deploy.grafana.generate.frame import SOURCE, Rows, lines, page, query, rate, states, took

POOL = (
    QueryVariable("pool")
    .label("Pool")
    .datasource(SOURCE)
    .query("label_values(writ_pool_agents, pool)")
    .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    .multi(True)
    .include_all(True)
    .all_value(".*")
)
OF = '{pool=~"$pool"}'
ENDED = f"writ_operations_total{OF}"

WHO_IS_THERE = [
    lines("Agents", query(f"max by (pool) (writ_pool_agents{OF})", "{{pool}}"), text="Heard within a lease.", width=8),
    lines(
        "Free slots",
        query(f"max by (pool) (writ_pool_free_slots{OF})", "{{pool}}"),
        text="Operations that these agents could begin now. None, and work in line: another agent.",
        width=8,
    ),
    lines(
        "In line",
        query(f"max by (pool, state) (writ_pool_operations{OF})", "{{pool}}: {{state}}"),
        text="waiting for target, limit or approval; dispatched, for an agent; running.",
        width=8,
    ),
    lines(
        "The first in line waits",
        query(f"max by (pool) (writ_pool_oldest_dispatched_seconds{OF})", "{{pool}}"),
        unit="s",
        text="For an agent to claim it.",
        width=8,
    ),
    lines(
        "Not delivered yet",
        query("max by (consumer) (writ_nats_consumer_pending_messages)", "{{consumer}}"),
        text="What is in line at each pool's consumer: what to scale agents by.",
        width=8,
    ),
    lines(
        "Delivered, not acknowledged",
        query("max by (consumer) (writ_nats_consumer_unacked_messages)", "{{consumer}}"),
        width=8,
    ),
]

WORK = [
    lines(
        "Ended, by pool and outcome",
        query(f"sum by (pool, outcome) {rate(ENDED)}", "{{pool}}: {{outcome}}"),
        unit="ops",
    ),
    took(
        "On the host, 95 %",
        "writ_operation_stage_seconds",
        by="pool",
        where='{stage="run", pool=~"$pool"}',
        text="From started to ended. Each dot is an operation.",
    ),
    took(
        "Until an agent began, 95 %",
        "writ_operation_stage_seconds",
        by="pool",
        where='{stage="claim", pool=~"$pool"}',
    ),
    took(
        "By backend, 95 %",
        "writ_agent_execution_seconds",
        by="backend",
        text="On the target, as agents measure it: local, ssh, docker, proxmox, or a plugin's.",
    ),
    took(
        "By operation, 95 %",
        "writ_agent_operation_seconds",
        by="operation",
        text="From grant to end, as agents measure it.",
    ),
    took(
        "Stages of agents, 95 %",
        "writ_agent_stage_seconds",
        by="stage",
        text="look: the baseline; claim: until granted; run: on the host; tell: until the receipt is stored.",
    ),
    lines(
        "Ended, by operation and outcome",
        query(
            f"sum by (operation, outcome) {rate('writ_agent_operations_total')}",
            "{{operation}}: {{outcome}}",
        ),
        unit="ops",
    ),
]

BACKENDS = [
    states(
        "Targets that were reached the last time",
        "min by (target) (writ_agent_target_reachable)",
        "{{target}}",
        text="Of agents that go to their targets. `writ target test` tries all of them, and says what to do.",
    ),
    states(
        "Agents' own checks",
        "min by (instance, check) (writ_check_ok and on (instance) writ_agent_free_slots)",
        "{{instance}} {{check}}",
        text="Disk, backend, and the way to NATS of each agent.",
    ),
]

CONTAINERS = [
    lines(
        "Pulls and deployments, by outcome",
        query("sum by (outcome) (rate(writ_agent_deployments_total[$__rate_interval]))", "{{outcome}}"),
        unit="ops",
        width=8,
    ),
    lines(
        "Pulls and deployments that failed",
        query(
            'sum by (operation) (increase(writ_agent_deployments_total{outcome="failed"}[30m]))',
            "{{operation}}",
        ),
        text="Within 30 minutes. The message of one says whether it was the registry, the image, or a health check.",
        width=8,
    ),
    lines(
        "Engines and hosts that were not reached",
        query("sum(min by (target) (writ_agent_target_reachable) == bool 0)", "not reached"),
        text="The last time that an agent went there.",
        width=8,
    ),
]

ROWS: Rows = {
    "Who is there, who waits": WHO_IS_THERE,
    "Work": WORK,
    "Backends": BACKENDS,
    "Containers": CONTAINERS,
}


def dashboard() -> str:
    """Return the dashboard as JSON."""
    return page("pools", "pools and backends", "Agents, their work, and what they reach.", ROWS, POOL)
