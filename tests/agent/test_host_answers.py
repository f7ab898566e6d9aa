"""Any JSON from a host becomes an outcome or one of Writ's own errors."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.test_catalogue import CATALOGUE

from writ_agent.backends.hostops_requests import done_of, names_of, probed_of, read_result, surveyed
from writ_agent.backends.port import Task, TaskResult
from writ_agent.reporting.receipts import AgentIdentity, ReceiptSubject, receipt_message
from writ_contracts.agents import Receipt, ReceiptMessage
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_contracts.wire import decode
from writ_hostops.encoded_text import ComputedDigests
from writ_hostops.supervised.frames import COMPUTED
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import open_signed

KEY = Key(generate_seed())
TASK = Task(
    operation_id="a" * 26,
    attempt=1,
    operation=CATALOGUE["file_write"],
    target=Target(id="web-1", role="production", backend="ssh"),
    parameters={"file_path": "/srv/a", "content": "a secret that is long"},
    timeout=5.0,
    baseline={},
)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    plain | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "outcome": st.sampled_from(["succeeded", "failed", "cancelled", "unknown"]) | values,
        "code": st.sampled_from(["", "timeout"]) | values,
        "message": st.text(max_size=3000) | values,
        "output": st.dictionaries(st.sampled_from(["names", "versions", "lacking", "verdict", "path"]), values)
        | values,
        "state": values,
        "effect": values,
        "certain": values,
    },
)


@settings(max_examples=50, deadline=None)
@given(answers)
def test_an_answer_of_a_host_is_an_outcome_or_an_error_of_writ(answer: dict[str, Any]) -> None:
    assert isinstance(done_of(TASK, answer), TaskResult)
    for read in (
        lambda: names_of(read_result("listing", answer)),
        lambda: probed_of(read_result("probe", answer, TASK)),
        lambda: surveyed(answer, CATALOGUE, []),
    ):
        try:
            read()
        except WritError:
            continue


@settings(max_examples=50, deadline=None)
@given(answers)
def test_a_receipt_of_any_answer_can_be_read(answer: dict[str, Any]) -> None:
    run = ReceiptSubject(
        operation_id="a" * 26, attempt=1, principal="alice", instance="i", grant_digest=None, claim_digest=None
    )
    identity = AgentIdentity(key=KEY, pool="ssh", instance="i")
    message = receipt_message(identity, run, done_of(TASK, answer), TASK.operation, 0.1)
    signed = decode(message, ReceiptMessage).receipt
    assert open_signed(signed, Receipt, [KEY.public], "").operation_id == "a" * 26


def test_digest_of_a_text_counts_only_if_the_frames_reader_computed_it() -> None:
    reply = {"outcome": "succeeded", "output": {"content": "x" * 100}}
    assert done_of(TASK, {**reply, COMPUTED: {"content": "forged"}}).digests == {}
    assert done_of(TASK, {**reply, COMPUTED: ComputedDigests(content="own")}).digests == {"content": "own"}
    with_secret = {**reply, "output": {"path": f"/{TASK.parameters['content']}", "content": "x"}}
    assert done_of(TASK, {**with_secret, COMPUTED: ComputedDigests(content="own", other="gone")}).digests == {
        "content": "own"
    }


@pytest.mark.parametrize("names", [5, {"nginx": 1}, "nginx", ["nginx", None], [["nginx"]]])
def test_names_that_are_no_texts_are_refused(names: object) -> None:
    with pytest.raises(WritError):
        names_of(read_result("listing", {"outcome": "succeeded", "output": {"names": names}}))


@pytest.mark.parametrize("versions", [5, ["os"], {str(n): "1" for n in range(1000)}])
def test_a_survey_with_versions_that_cannot_be_read_is_refused(versions: object) -> None:
    with pytest.raises(WritError):
        surveyed({"outcome": "succeeded", "output": {"versions": versions}}, CATALOGUE, [])
