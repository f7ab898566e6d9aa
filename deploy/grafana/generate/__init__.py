"""deploy/grafana/dashboards, made with Grafana's SDK: five pages, from the whole installation down to one operation."""

from collections.abc import Callable, Mapping

from deploy.grafana.generate import audit, operation, overview, policy, pools

DASHBOARDS: Mapping[str, Callable[[], str]] = {
    "overview": overview.dashboard,
    "policy": policy.dashboard,
    "pools": pools.dashboard,
    "audit": audit.dashboard,
    "operation": operation.dashboard,
}
"""The text of each dashboard's file, by its name without `.json`."""
