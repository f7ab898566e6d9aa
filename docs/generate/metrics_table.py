"""docs/metrics.md, from the registries of the services as they make them; nothing runs for it."""

from collections.abc import Mapping
from importlib import import_module

from writ_agent.backends.target_health import TargetHealth
from writ_agent.reporting.metrics import ENDPOINTS, Meters, show_target_health
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.operations import Catalogue
from writ_runtime.clocks import ServerClock
from writ_runtime.journal.journal_guard import declare
from writ_runtime.metric_series import AtMost
from writ_runtime.metrics import Family, Metrics

MOST_SHOWN = 12
HEAD = """\
# Metrics

Each process has `/metrics` on its health port, in Prometheus' text format; beside these there are the `process_…` and
`python_gc_…` of its client library. Labels are bounded: a value that is none of a label's own is counted as `other`.
Counters count what one process did: sum them over replicas. Gauges of an executor show the whole installation, as this
replica sees it. A scraper with OpenMetrics gets exemplars, too: with a bucket of a histogram, the last operation in it
(`operation_id`, for `writ trace`) and its trace (`trace_id`).

*Made from the registries by `make docs`. Alerts and their remedies: [runbooks.md](runbooks.md).*
"""
NAMES = {"operation": "of the catalogue", "code": "of [codes.md](codes.md)"}


def document() -> str:
    """Return the document: the metrics of all services, then each service's own."""
    tables = {name: metrics.families for name, metrics in registries().items()}
    shared = [one for one in tables["policy"] if all(one.name in _names(table) for table in tables.values())]
    parts = [HEAD, _table("Every service", shared)]
    parts += [_table(name, [one for one in table if one.name not in _names(shared)]) for name, table in tables.items()]
    return "\n".join(parts)


def registries() -> Mapping[str, Metrics]:
    """Return the registry of one process of each kind."""
    catalogue = Catalogue(BUILT_IN)
    policy, executor, audit = (import_module(f"writ_{name}.metrics") for name in ("policy", "executor", "audit"))
    made = {"policy": policy.metrics(), "executor": executor.metrics(), "audit": audit.metrics()}
    policy.PolicyMeasures(made["policy"], catalogue)
    executor.ExecutorMeasures(made["executor"], catalogue, lambda: 0.0)
    audit.AuditMeasures(made["audit"], lambda: 0.0, lambda: 0.0)
    audit.notification_counter(made["audit"])
    import_module("writ_audit.servers").Servers(made["audit"])
    for metrics in made.values():
        declare(metrics, lambda: 0.0)
    made["agent"] = Metrics(ENDPOINTS)
    Meters(made["agent"], catalogue, lambda: 0.0)
    show_target_health(made["agent"], TargetHealth())
    for metrics in made.values():
        ServerClock(None).shown(metrics)
    gateway = import_module("writ_gateway.http.metrics")
    made["gateway"] = gateway.metrics()
    gateway.GatewayMeasures(made["gateway"], lambda: 0.0)
    gateway.refusal_count(made["gateway"])
    return made


def _names(families: list[Family]) -> set[str]:
    return {one.name for one in families}


def _table(title: str, families: list[Family]) -> str:
    rows = [f"\n## {title}\n", "| metric | kind | labels | meaning |", "|---|---|---|---|"]
    rows += [f"| `{one.name}` | {one.kind} | {_labels(one)} | {one.text} |" for one in families]
    return "\n".join(rows) + "\n"


def _labels(family: Family) -> str:
    return "; ".join(f"`{name}`: {_values(name, values)}" for name, values in family.labels.items())


def _values(name: str, values: object) -> str:
    if isinstance(values, AtMost):
        return f"at most {values.most}"
    if name in NAMES:
        return NAMES[name]
    assert isinstance(values, tuple | list | set | frozenset)
    told = list(values) if isinstance(values, tuple | list) else sorted(values)
    return ", ".join(told) if len(told) <= MOST_SHOWN else f"one of {len(told)}"
