"""The dashboard of the record and of its faults: journal, index, security events, refusals, NATS."""

from deploy.grafana.generate.frame import BAD, GOOD, WARNING, Rows, lines, number, page, query, states, took

THE_RECORD = [
    number(
        "Index behind",
        "max(writ_audit_lag_events)",
        text="Events of the journal that searches do not show yet.",
        steps={0: GOOD, 100: WARNING, 1000: BAD},
    ),
    number(
        "Journal",
        "max(writ_journal_fill_ratio)",
        "percentunit",
        text="How full it is: from 85 % on new operations are refused.",
        steps={0: GOOD, 0.6: WARNING, 0.8: BAD},
    ),
    number(
        "In a week",
        # A prediction by the first minutes, in which an installation starts, is of several times the whole journal.
        "clamp_min(max(predict_linear(writ_journal_fill_ratio[6h], 7 * 86400) and writ_journal_fill_ratio offset 6h "
        "or writ_journal_fill_ratio), 0)",
        "percentunit",
        text="How full it will be, if it goes on as in the last six hours; until then, how full it is.",
        steps={0: GOOD, 0.6: WARNING, 0.8: BAD},
    ),
    number(
        "Not readable",
        "max(writ_journal_damaged)",
        text="Records of the journal that cannot be read.",
        steps={0: GOOD, 1: BAD},
    ),
    lines(
        "Events, by kind",
        query("sum by (kind) (rate(writ_audit_events_total[$__rate_interval]))", "{{kind}}"),
        unit="ops",
        text="As they are indexed.",
    ),
    lines("Volume", query("sum(rate(writ_audit_bytes_total[$__rate_interval]))", "indexed"), unit="Bps", width=8),
    lines(
        "Position",
        query("max by (instance) (writ_audit_position)", "{{instance}}"),
        text="The last sequence that each index has.",
        width=8,
    ),
    lines(
        "Searches",
        query("sum by (result) (rate(writ_audit_index_reads_total[$__rate_interval]))", "{{result}}"),
        unit="ops",
        text="current, or behind the journal when they were answered.",
        width=8,
    ),
]

WHAT_SHOULD_NOT_BE = [
    lines(
        "Security events",
        query("sum by (kind) (increase(writ_security_events_total[$__rate_interval]))", "{{kind}}"),
        text="docs/runbooks.md says what to do (WritSecurityViolation).",
    ),
    lines(
        "What agents refused",
        query("sum by (reason) (increase(writ_agent_refused_total[$__rate_interval]))", "{{reason}}"),
        text="Refused grants, read grants and cancels.",
    ),
    lines(
        "Refused requests",
        query(
            'sum by (outcome) (rate(writ_outcomes_total{outcome=~"denied|invalid"}[$__rate_interval]))',
            "{{outcome}}",
        ),
        unit="ops",
    ),
    lines(
        "Refused messages",
        query(
            'sum by (endpoint, code) (rate(writ_handled_total{outcome="refused"}[$__rate_interval])) or vector(0)',
            "{{endpoint}}: {{code}}",
        ),
        unit="ops",
    ),
    states(
        "Who watches",
        'min by (instance, check) (writ_check_ok{check=~"audit|index|journal"})',
        "{{instance}} {{check}}",
        text="Whether executors hear of an audit service that keeps up, and that itself has all it needs.",
    ),
]

NATS = [
    lines(
        "Streams",
        query("max by (stream) (writ_nats_stream_bytes)", "{{stream}}"),
        unit="bytes",
        text="How large each is.",
        width=8,
    ),
    lines("Messages", query("max by (stream) (writ_nats_stream_messages)", "{{stream}}"), width=8),
    took("One append to the journal", "writ_operation_stage_seconds", where='{stage="record"}', width=8),
    lines(
        "Servers, and their clients",
        query("max(writ_nats_servers)", "servers"),
        query("max by (server) (writ_nats_connections)", "{{server}}: connections"),
        query("max by (server) (writ_nats_slow_consumers)", "{{server}}: cut off, too slow"),
        width=8,
    ),
    lines("Subscriptions", query("max by (server) (writ_nats_subscriptions)", "{{server}}"), width=8),
    lines(
        "Memory of the servers", query("max by (server) (writ_nats_memory_bytes)", "{{server}}"), unit="bytes", width=8
    ),
]

ROWS: Rows = {"The record": THE_RECORD, "What should not be": WHAT_SHOULD_NOT_BE, "NATS": NATS}


def dashboard() -> str:
    """Return the dashboard as JSON."""
    return page("audit", "audit and security", "The record, what should not happen, and NATS beneath both.", ROWS)
