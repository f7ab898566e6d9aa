"""The first dashboard: health, requests, latency and resources of the installation."""

from deploy.grafana.generate.frame import BAD, GOOD, WARNING, Rows, lines, number, page, query, rate, states, took

OURS = "and on (instance) writ_ready"
"""Selects Writ's processes among the metrics that every Python process exports."""

IS_IT_WELL = [
    number(
        "Ready",
        "sum(writ_ready) / count(writ_ready)",
        "percentunit",
        text="The share of processes whose /readyz answers 200.",
        steps={0: BAD, 1: GOOD},
    ),
    number(
        "Succeeded",
        "min(writ_success_ratio)",
        "percentunit",
        text="Of what ended within 5 minutes, refusals aside.",
        steps={0: BAD, 0.8: WARNING, 1: GOOD},
    ),
    number(
        "Alerts",
        'count(ALERTS{alertname=~"Writ.+", alertstate="firing"}) or vector(0)',
        text="Alerts that fire now; docs/runbooks.md has a runbook for each.",
        steps={0: GOOD, 1: BAD},
    ),
    number("Open", "max(writ_operations_open)", text="Operations that have not ended.", steps={0: GOOD}),
    number(
        "Overdue",
        "max(writ_operations_overdue)",
        text="Open operations past the deadline of their start or end, a read by more than 120 s.",
        steps={0: GOOD, 1: BAD},
    ),
    number(
        "Pools without an agent",
        "count(max by (pool) (writ_pool_agents) == 0) or vector(0)",
        text="Pools with targets whose agents were not heard for a lease.",
        steps={0: GOOD, 1: BAD},
    ),
    number(
        "Journal",
        "max(writ_journal_fill_ratio)",
        "percentunit",
        text="How full the journal is: from 85 % on new operations are refused.",
        steps={0: GOOD, 0.6: WARNING, 0.8: BAD},
    ),
    number("Policy", "max(writ_policy_version)", text="The number of the version in force.", steps={0: GOOD}),
    states(
        "Checks",
        "min by (check) (writ_check_ok)",
        "{{check}}",
        text="What any process's /readyz has something to say about; `writ status` names the process and the reason.",
    ),
]

WHAT_IS_ASKED = [
    lines(
        "Ended, by outcome",
        query("sum by (outcome) (rate(writ_outcomes_total[$__rate_interval]))", "{{outcome}}"),
        unit="ops",
    ),
    lines(
        "Ended, by operation",
        query(f"topk(10, sum by (operation) {rate('writ_operations_total')})", "{{operation}}"),
        unit="ops",
        text="The ten that are asked for most.",
    ),
    lines(
        "Decisions, by effect",
        query(f"sum by (effect) {rate('writ_policy_decisions_total')}", "{{effect}}"),
        unit="ops",
        text="Each operation is decided when it is asked for, and again when it starts.",
    ),
    lines(
        "Turned away",
        query("sum by (code) (rate(writ_requests_turned_away_total[$__rate_interval]))", "{{code}}"),
        unit="ops",
        text="Requests that were refused unrecorded: a flood, a full journal.",
    ),
    lines(
        "Replies of the gateway, by status",
        query("sum by (status) (rate(writ_gateway_http_replies_total[$__rate_interval])) or vector(0)", "{{status}}"),
        unit="reqps",
        text="401: no valid token; 429: above the rate of a token, or above the share of a principal.",
    ),
]

HOW_LONG = [
    took(
        "From request to end",
        "writ_operation_stage_seconds",
        where='{stage="whole"}',
        text="Each dot is an operation: follow it to its own page.",
    ),
    took(
        "Stages, 95 %",
        "writ_operation_stage_seconds",
        by="stage",
        where='{stage!="whole"}',
        text="decide and grant: policy's answer; wait: until dispatched; claim: until started; run: until the end; "
        "record: one append to the journal.",
    ),
]

WHAT_IT_COSTS = [
    lines("Memory", query(f"process_resident_memory_bytes {OURS}", "{{instance}}"), unit="bytes", width=8),
    lines(
        "Processor",
        query(f"rate(process_cpu_seconds_total[$__rate_interval]) {OURS}", "{{instance}}"),
        unit="percentunit",
        width=8,
    ),
    lines(
        "Defects",
        query('sum by (endpoint) (rate(writ_handled_total{outcome="failed"}[$__rate_interval])) or vector(0)'),
        unit="ops",
        text="Messages that a service, or a peer of it, failed to handle: each is worth a look at the log.",
        width=8,
    ),
]

ROWS: Rows = {
    "Is it well": IS_IT_WELL,
    "What is asked": WHAT_IS_ASKED,
    "How long it takes": HOW_LONG,
    "What it costs": WHAT_IT_COSTS,
}


def dashboard() -> str:
    """Return the dashboard as JSON."""
    return page("overview", "overview", "The whole installation at a glance.", ROWS)
