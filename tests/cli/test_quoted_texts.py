"""Texts of hosts in a trace, and reasons in the history of a policy: none looks like another line."""

import msgspec
import pytest
from msgspec import structs
from tests.cli.test_approval_cards import FORGED, MISLEADING, rows_of, sample_of
from tests.contracts.messages import sample

from writ_cli.operations.records import timeline
from writ_cli.operations.running.requests import show_view
from writ_cli.operations.running.run_diff import RunPreview, show_run_diff
from writ_cli.policy.versions import _show_history
from writ_cli.terminal.output import Screen
from writ_contracts import journal
from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.policy.versions import PolicyHistoryReply, PolicyVersionView
from writ_contracts.requests import OperationView
from writ_contracts.wire import encode


def show_finished(screen: Screen, text: str) -> None:
    output = {
        "stdout": text,
        "entries": [{"name": text}, {"name": "b", "owner": text}],
        "lines": [{"of": [text]}],
        "texts": ["a", text],
    }
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


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("width", [40, 80])
def test_each_text_of_a_list_in_an_output_begins_a_line_of_its_own(width: int, text: str) -> None:
    view = structs.replace(
        sample_of(OperationView), outcome="previewed", output={"commands": ["write 5 bytes", text, "rename it"]}
    )

    def show(screen: Screen) -> None:
        show_view(screen, view)

    shown = rows_of(show, width)
    begun = [row.removeprefix("    | - ") for row in shown if row.startswith("    | - ")]
    assert (begun[0], len(begun), begun[-1]) == ("write 5 bytes", 3, "rename it")
    assert not any(row.strip().startswith(FORGED) for row in shown)


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
def test_diff_of_a_run_shows_every_package(text: str) -> None:
    names = [f"many{number:02}" for number in range(23)]
    changed = [{"package_name": name, "version_before": "", "version_after": "1"} for name in names]
    preview = RunPreview(output={"would": "many00 1; and 22 more packages", "changed": [*changed, {"of": text}]})
    view = structs.replace(sample_of(OperationView), outcome="succeeded", output={"changed": changed})
    shown = rows_of(lambda screen: show_run_diff(screen, view, preview), 80)
    assert [name for name in names if any(name in row for row in shown[2:])] == names
    assert not any(row.strip().startswith(FORGED) for row in shown)


def show_history(screen: Screen, text: str) -> None:
    version = PolicyVersionView(number=2, digest="b" * 64, author="a", origin="published", at=2.0, reason=text)
    _show_history(screen, PolicyHistoryReply(versions=[version], more=False))


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
def test_no_reason_in_the_history_of_the_policy_looks_like_another_line(text: str) -> None:
    shown = rows_of(lambda screen: show_history(screen, text), 80)
    assert not any(row.strip().startswith(FORGED) for row in shown)
