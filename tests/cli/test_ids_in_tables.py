"""An id in a table can be copied from a terminal of 80 columns; nothing else is cut off for it."""

import io
from collections import Counter

import pytest
from rich.console import Console

from writ_cli.output import Screen

ID = "bpus7uwbcx4ft3jsgkfhhw4g2u"
TABLES = {
    "approvals": (
        ("operation", "digest", "requested by", "what", "target", "waits for", "time left"),
        (ID, "2849-1215", "copilot for operator", "container_restart", "prod-web-01", "you", "9 min 53 s"),
    ),
    "stops": (
        ("stop", "by", "since", "until", "reach", "reason"),
        (ID, "operator", "2026-11-28 00:25:56", "it is lifted", "everything", "an intrusion on web-3"),
    ),
    "audit": (
        ("when", "operation", "who", "what", "target", "outcome", "code", "security"),
        ("2026-11-28 00:28:05", ID, "operator", "emergency_confirm", "prod-web-01", "denied", "own_emergency", "no"),
    ),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", [80, 100, 132])
def test_an_id_stays_whole(name: str, width: int) -> None:
    columns, row = TABLES[name]
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=width, force_terminal=False)
    screen.table(columns, [row])
    lines = paper.getvalue().splitlines()
    assert any(ID in line.split() for line in lines)
    assert max(map(len, lines)) <= width
    body = "".join(lines[[line[:1] for line in lines].index("─") + 1 :])
    assert Counter("".join(body.split())) == Counter("".join("".join(row).split()))
