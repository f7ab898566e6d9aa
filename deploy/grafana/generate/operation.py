"""The dashboard of one operation: a link from an example (exemplar) leads here, and shows it among similar ones.

Metrics know no single operation, but their exemplars name operations. Each panel shows the duration of a step over all
operations, and the exemplars of this operation alone. The journal has everything else about it.
"""

from grafana_foundation_sdk.builders import text as text_panel
from grafana_foundation_sdk.builders.dashboard import TextBoxVariable
from grafana_foundation_sdk.builders.timeseries import Panel
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig
from grafana_foundation_sdk.models.text import TextMode

from deploy.grafana.generate.frame import WIDTH, Rows, page, took

OPERATION = TextBoxVariable("operation").label("Operation").default_value("")
RECORD = """\
```
writ trace $operation        # every event of it, who, what, which rules, and the digests that tie it together
writ op show $operation      # how it is now
```
Dots are steps of this operation that Prometheus has as examples; each names its trace, too (`trace_id`). The lines are
all operations.
"""
THIS_ONE = DataTransformerConfig(
    id_val="filterByValue",
    topic="annotations",
    options={
        "type": "include",
        "match": "all",
        "filters": [
            {"fieldName": "operation_id", "config": {"id": "equal", "options": {"value": "$operation"}}},
        ],
    },
)
STEPS = {
    "decide": "Until policy had decided on the request.",
    "wait": "Until it was dispatched: for its target, a limit, an approval.",
    "claim": "Until an agent had its grant.",
    "grant": "Until policy had decided anew, on the claim.",
    "run": "From started to ended.",
    "record": "Each append to the journal.",
}


def stage(name: str, text: str, width: int = WIDTH // 3) -> Panel:
    """Return the panel of one stage: its duration over all operations, and that of this operation."""
    made = took(name, "writ_operation_stage_seconds", where=f'{{stage="{name}"}}', text=text, width=width)
    return made.with_transformation(THIS_ONE)


ROWS: Rows = {
    "Operation $operation": [
        text_panel.Panel().title("Its record").mode(TextMode.MARKDOWN).content(RECORD).span(WIDTH // 2).height(8),
        stage("whole", "From request to end.", WIDTH // 2),
    ],
    "Stages, as executors see them": [stage(name, text) for name, text in STEPS.items()],
    "In policy and on the agent": [
        took(
            "policy, 95 %", "writ_handled_seconds", by="endpoint", where='{endpoint=~"decide|grant"}'
        ).with_transformation(THIS_ONE),
        took("agent, 95 %", "writ_agent_stage_seconds", by="stage").with_transformation(THIS_ONE),
    ],
}


def dashboard() -> str:
    """Return the dashboard as JSON."""
    return page("operation", "one operation", "One operation among its like, by its id.", ROWS, OPERATION)
