"""Texts of hosts in a trace, and reasons in the history of a policy: none looks like another line."""

import msgspec
import pytest
from msgspec import structs
from tests.cli.test_approval_cards import FORGED, MISLEADING, rows_of
from tests.contracts.messages import sample

from writ_cli.operations.records import timeline
from writ_cli.policy.versions import _show_history
from writ_cli.terminal.output import Screen
from writ_contracts import journal
from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.policy.versions import PolicyHistoryReply, PolicyVersionView
from writ_contracts.wire import encode


def show_finished(screen: Screen, text: str) -> None:
    output = {"stdout": text, "entries": [{"name": text}, {"name": "b", "owner": text}], "lines": [{"of": [text]}]}
    finished = structs.replace(sample(journal.Finished), message=text, output=output, state={"state": text})
    refused = structs.replace(sample(journal.Refused), message=text)
    events = [
        TraceEvent(sequence=at, subject="s", kind=kind, at=0.0, body=msgspec.json.decode(encode(one)))
        for at, (kind, one) in enumerate((("finished", finished), ("refused", refused)))
    ]
    events.append(TraceEvent(sequence=2, subject="s", kind="of a later release", at=0.0, body={"a": text}))
    timeline.show(screen, TraceReply(events=events), {}, verified=True)


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_text_of_a_host_looks_like_another_line_of_a_trace(width: int, text: str) -> None:
    shown = rows_of(lambda screen: show_finished(screen, text), width)
    assert any("output stdout" in row for row in shown)
    assert not any(row.strip().startswith(FORGED) for row in shown)


def show_history(screen: Screen, text: str) -> None:
    version = PolicyVersionView(number=2, digest="b" * 64, author="a", origin="published", at=2.0, reason=text)
    _show_history(screen, PolicyHistoryReply(versions=[version], more=False))


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
def test_no_reason_in_the_history_of_the_policy_looks_like_another_line(text: str) -> None:
    shown = rows_of(lambda screen: show_history(screen, text), 80)
    assert not any(row.strip().startswith(FORGED) for row in shown)
