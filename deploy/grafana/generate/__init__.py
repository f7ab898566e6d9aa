"""deploy/grafana/dashboards, made with Grafana's own SDK: five pages, from the whole house down to one operation."""

from collections.abc import Callable, Mapping

from deploy.grafana.generate import audit, operation, overview, policy, pools

DASHBOARDS: Mapping[str, Callable[[], str]] = {
    "overview": overview.dashboard,
    "policy": policy.dashboard,
    "pools": pools.dashboard,
    "audit": audit.dashboard,
    "operation": operation.dashboard,
}
"""By file name, without `.json`; each is the file's text."""
