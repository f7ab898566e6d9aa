"""The dashboard of the policy: the version in force, its decisions, their duration, and files it could not use."""

from deploy.grafana.generate.frame import BAD, GOOD, Rows, lines, number, page, query, rate, rows_of, states, took

IN_FORCE = [
    number("Version", "max(writ_policy_version)", text="The number of the version in force.", steps={0: GOOD}),
    number(
        "Replicas apart",
        "max(writ_policy_version) - min(writ_policy_version)",
        text="Between the newest and the oldest version that a replica has in force: nought, but for a moment.",
        steps={0: GOOD, 1: BAD},
    ),
    number("Rules", "max(writ_policy_rules)", text="Enabled rules of the policy in force.", steps={0: GOOD}),
    number(
        "Could not be used",
        "sum(increase(writ_policy_load_errors_total[1h]))",
        text="Changed files, and stored versions, of the last hour that could not be used: the last good one rules.",
        steps={0: GOOD, 1: BAD},
    ),
    rows_of("In force, by replica", "writ_policy_info", text="Name, version and digest, as each replica has it."),
    states(
        "Files and versions",
        'min by (check) (writ_check_ok{check=~"policy|versions|inventory|principals|agents"})',
        "{{check}}",
        text="Red: the last good one is in force, since there is something wrong with what came after.",
    ),
]

DENIED = 'writ_policy_decisions_total{effect="deny"}'

DECISIONS = [
    lines(
        "By effect",
        query(f"sum by (effect) {rate('writ_policy_decisions_total')}", "{{effect}}"),
        unit="ops",
        width=8,
    ),
    lines(
        "By operation",
        query(f"topk(10, sum by (operation) {rate('writ_policy_decisions_total')})", "{{operation}}"),
        unit="ops",
        width=8,
    ),
    lines(
        "By role of the target",
        query(f"sum by (role) {rate('writ_policy_decisions_total')}", "{{role}}"),
        unit="ops",
        width=8,
    ),
    lines(
        "Denied, by operation",
        query(
            f"sum by (operation) {rate(DENIED)} or vector(0)",
            "{{operation}}",
        ),
        unit="ops",
        text="`writ audit search --outcome denied` says who was denied what, and by which rule.",
    ),
    lines(
        "Listings for decisions",
        query("sum by (result) (rate(writ_listings_total[$__rate_interval]))", "{{result}}"),
        unit="ops",
        text="What agents were asked for since a rule turns on what there is on the target; a missing one denies.",
    ),
]

HOW_LONG = [
    took(
        "Within policy, 95 %",
        "writ_handled_seconds",
        by="endpoint",
        where='{endpoint=~"decide|grant"}',
        text="From the message to the answer. Each dot is an operation.",
    ),
    took(
        "As executors see it, 95 %",
        "writ_operation_stage_seconds",
        by="stage",
        where='{stage=~"decide|grant"}',
        text="The way there and back and listings of the target included.",
    ),
    lines(
        "Questions about the policy",
        query(
            'sum by (endpoint) (rate(writ_handled_total{endpoint=~"query_policy_.+"}[$__rate_interval])) or vector(0)',
            "{{endpoint}}",
        ),
        unit="ops",
    ),
]

ROWS: Rows = {"In force": IN_FORCE, "Decisions": DECISIONS, "How long they take": HOW_LONG}


def dashboard() -> str:
    """Return the dashboard as JSON."""
    return page("policy", "policy", "What is in force, what it decides, and how long that takes.", ROWS)
