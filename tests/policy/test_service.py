"""The service checks the sender, signs decisions, and applies files and control events from their time on."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.policy.replica import KEY, LOOK_KEY, RULES, Asking, files, replica

from writ_contracts import subjects
from writ_contracts.decisions import DecideReply, GrantReply, ReadGrant
from writ_contracts.errors import ConfigError
from writ_contracts.wire import decode, encode
from writ_policy.endpoints.decisions import without_unchanged_texts
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import keyed_digest, plain_digest
from writ_trust.statements import open_signed


def test_an_answer_to_a_large_request_leaves_out_unchanged_texts_alone() -> None:
    requested = {"content": "x" * 100_000, "path": "/a", "size": 1}
    effective = {**requested, "path": "/b", "size": 1.0, "mode": "0644"}
    assert without_unchanged_texts(effective, requested) == {"path": "/b", "size": 1.0, "mode": "0644"}


async def test_decision_names_all_of_its_inputs(asking: Asking) -> None:
    subject = asking.subject()
    decision = await asking.decision(subject)
    assert (decision.effect, decision.code, decision.rules) == ("allow", "allowed", ["services"])
    assert decision.operation_id == subject.operation_id
    assert decision.parameters_digest == keyed_digest(KEY, {"service_name": "nginx", "timeout": 60})
    assert decision.policy.name == "test"
    assert decision.policy.digest == plain_digest(asking.files.path("policy").read_bytes())
    assert decision.policy.inventory_digest == plain_digest(asking.files.path("inventory").read_bytes())
    assert decision.policy.principals_digest == plain_digest(asking.files.path("principals").read_bytes())
    assert (decision.at, decision.authenticated, decision.timeout) == (asking.clock.now, "server", 60)
    assert decision.trace[0].matched


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"operation": "service_burn"}, "unknown_operation"),
        ({"target": "nowhere"}, "unknown_target"),
        ({"principal": "mallory"}, "unknown_principal"),
        ({"key": "UNKNOWN"}, "key_mismatch"),
        ({"parameters": {}}, "invalid_parameters"),
        ({"parameters": {"service_name": "nginx", "shell": "sh"}}, "invalid_parameters"),
        ({"parameters": {"service_name": "nginx\n"}}, "invalid_parameters"),
        ({"target": "narrow"}, "unsupported"),
        ({"target": "box"}, "unsupported"),
        ({"target": "writ"}, "unsupported"),
        ({"operation": "stop_set", "parameters": {"reason": "x"}}, "unsupported"),
    ],
)
async def test_malformed_question_is_an_error(asking: Asking, changed: dict[str, str], code: str) -> None:
    decided = await asking.decide(structs.replace(asking.subject(), **changed))
    assert decided.decision is None
    assert decided.error is not None
    assert (decided.error.code, decided.error.retry) == (code, False)


async def test_a_denial_is_signed_too(asking: Asking) -> None:
    decision = await asking.decision(asking.subject("service_stop"))
    assert (decision.effect, decision.code, decision.rules) == ("deny", "no_rule", [])


async def test_an_agent_carries_its_human(asking: Asking) -> None:
    assert (await asking.decision(asking.subject(principal="copilot"))).acts_for == "alice"


async def test_principal_may_cancel_its_own_operations_and_those_of_its_agents(asking: Asking) -> None:
    def cancel(principal: str, owner: str | None) -> object:
        parameters = {"operation_id": "a" * 26}
        return asking.subject("operation_cancel", "writ", principal=principal, owner=owner, parameters=parameters)

    codes = {
        (principal, owner): await asking.code(cancel(principal, owner))  # type: ignore[arg-type]
        for principal in ("alice", "copilot")
        for owner in ("alice", "copilot", "bob", None)
    }
    own = [("alice", "alice"), ("alice", "copilot"), ("copilot", "copilot")]
    assert codes == {who: "own" if who in own else "no_rule" for who in codes}


async def test_a_changed_policy_counts_for_the_next_decision(asking: Asking) -> None:
    assert await asking.code(asking.subject()) == "allowed"
    asking.files.policy({**RULES[0], "allowed": False})
    assert await asking.code(asking.subject()) == "denied"
    asking.files.policy(*RULES)
    assert await asking.code(asking.subject()) == "allowed"


async def test_changed_principals_and_targets_count_for_the_next_decision(asking: Asking) -> None:
    asking.files.write("inventory", {"targets": []})
    asking.files.write("principals", {"principals": []})
    assert await asking.code(asking.subject()) == "unknown_principal"


async def test_a_policy_that_does_not_load_leaves_the_last_good_one_in_force_loudly(
    asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    before = await asking.decision(asking.subject())
    asking.files.write("policy", "policies: {global_policies: [{nmae: x}]}")
    after = await asking.decision(asking.subject())
    assert (after.effect, after.policy) == ("allow", before.policy)
    check = await asking.service.checks()["policy"]()
    assert check is not None
    assert "unknown key 'nmae'; did you mean 'name'?" in check
    assert check.startswith("version 1, of a file, is in force: ")
    assert "file.refused" in [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert b'writ_policy_load_errors_total{file="policy"} 1.0' in asking.measured.exposition()[0]


async def test_long_report_about_a_policy_file_ends_after_a_whole_mistake(asking: Asking) -> None:
    await asking.decision(asking.subject())
    rules = ", ".join(f"{{nmae: rule-{number}, allowed: true, operations: [test_noop]}}" for number in range(40))
    asking.files.write("policy", f"policies: {{global_policies: [{rules}]}}")
    await asking.decision(asking.subject())
    check = await asking.service.checks()["policy"]()
    assert check is not None
    assert len(check) <= 1000
    assert check.endswith(("is missing; …", "did you mean 'name'?; …")), check[-200:]


async def test_service_without_a_valid_policy_does_not_start_and_reports_all_mistakes(tmp_path: Path) -> None:
    known = files(tmp_path)
    known.write("policy", "policies: {global_policies: [{nmae: x}], version: 7}")
    known.write("agents", "agents: 7")
    with pytest.raises(ConfigError) as caught:
        async with replica(MemoryBus(), MemoryBus(), known):
            pass
    reply = str(caught.value)
    assert all(word in reply for word in ("'nmae'", "is missing", "policy.yaml:1:", "agents.yaml:1:"))


async def test_lint_refuses_in_strict_and_warns_in_permissive(tmp_path: Path) -> None:
    known = files(tmp_path)
    known.policy({**RULES[0], "operations": ["service_restart", "service_burn"]})
    with pytest.raises(ConfigError, match="there is no operation 'service_burn'"):
        async with replica(MemoryBus(), MemoryBus(), known):
            pass
    broker = Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), known, mode="permissive") as asking:
        assert await asking.code(asking.subject()) == "allowed"


async def test_stop_counts_as_soon_as_it_is_stored(asking: Asking) -> None:
    sequence = await asking.control("stop_set", {"scope": ["web-a"], "reason": "it burns", "until": None})
    decision = await asking.decision(asking.subject(), control_sequence=sequence)
    assert (decision.code, decision.control_sequence) == ("stopped", sequence)
    assert await asking.code(asking.subject(target="web-b")) == "allowed"


async def test_a_stop_between_decision_and_claim_counts(asking: Asking) -> None:
    subject = asking.subject()
    assert await asking.code(subject) == "allowed"
    sequence = await asking.control("stop_set", {"scope": ["*"], "reason": "it burns", "until": None})
    granted = await asking.granted(subject, control_sequence=sequence)
    assert granted.grant is None
    assert granted.decision is not None


async def test_lift_of_a_stop_counts_only_with_policys_decision(asking: Asking) -> None:
    await asking.control("stop_set", {"scope": ["*"], "reason": "it burns", "until": None}, id="stop-1")
    forged = await asking.control("stop_lift", {"stop_id": "stop-1"})
    assert await asking.code(asking.subject(), control_sequence=forged) == "stopped"
    lift = asking.signed(asking.subject("stop_lift", "writ", parameters={"stop_id": "stop-1"}))
    decided = await asking.decide(lift)
    simulated = await asking.decide(structs.replace(lift, statement=None, salt=None, simulate=True))
    true: dict[str, Any] = {"decision": decided.decision, "operation_id": lift.operation_id, "parameters_key": KEY}
    body = decided.effective
    wrongs: tuple[dict[str, Any], ...] = (
        {"decision": simulated.decision},
        {"body": {**body, "stop_id": "stop-2"}},
        {"parameters_key": "0" * 64},
        {"parameters_key": "no key"},
        {"operation_id": "a" * 26},
    )
    for wrong in wrongs:
        sequence = await asking.control("stop_lift", **{"body": body, **true, **wrong})
        assert await asking.code(asking.subject(), control_sequence=sequence) == "stopped", wrong
    real = await asking.control("stop_lift", {**body, "reason": "it is out"}, **true)
    assert await asking.code(asking.subject(), control_sequence=real) == "allowed"


async def test_a_lift_of_another_stop_than_was_decided_lifts_nothing(asking: Asking) -> None:
    for number in ("stop-1", "stop-2"):
        await asking.control("stop_set", {"scope": ["*"], "reason": "it burns", "until": None}, id=number)
    lift = asking.signed(asking.subject("stop_lift", "writ", parameters={"stop_id": "stop-1"}))
    decided = await asking.decide(lift)
    true: dict[str, Any] = {"decision": decided.decision, "operation_id": lift.operation_id, "parameters_key": KEY}
    sequence = await asking.control("stop_lift", decided.effective, **true)
    for _ in range(2):  # the other one stays, however often the same decision is shown
        assert await asking.code(asking.subject(), control_sequence=sequence) == "stopped"
        sequence = await asking.control("stop_lift", {**decided.effective, "stop_id": "stop-2"}, **true)
    assert await asking.code(asking.subject(), control_sequence=sequence) == "stopped"


async def test_a_control_event_that_cannot_be_read_stops_everything(asking: Asking) -> None:
    sequence = await asking.store("stop_set", b'{"type":"control","kind":7}')
    assert await asking.code(asking.subject(), control_sequence=sequence) == "stopped"


async def test_replica_that_has_not_read_the_latest_event_replies_behind(asking: Asking) -> None:
    decided = await asking.decide(asking.subject(), control_sequence=1_000)
    assert decided.error is not None
    assert (decided.error.code, decided.error.retry) == ("behind", True)


async def test_a_new_replica_has_the_earlier_stops(asking: Asking) -> None:
    await asking.control("stop_set", {"scope": ["*"], "reason": "it burns", "until": None})
    broker = asking.bus.broker  # type: ignore[attr-defined]
    await asking.service.stop()
    async with replica(MemoryBus(broker), MemoryBus(broker), asking.files) as second:
        assert await second.code(second.subject()) == "stopped"


async def test_read_grant_is_signed_if_requested_and_not_denied(asking: Asking) -> None:
    subject = asking.subject()
    decided = await asking.decide(subject, look=["baseline"], look_key=LOOK_KEY, look_until=asking.clock.now + 9)
    assert decided.look is not None
    look = open_signed(decided.look, ReadGrant, (asking.files.keys["policy"].public,), "")
    assert (look.actions, look.expires_at, look.target.id) == (["baseline"], asking.clock.now + 9, "web-a")
    assert look.parameters_digest == keyed_digest(LOOK_KEY, {"service_name": "nginx", "timeout": 60})
    denied = await asking.decide(asking.subject("service_stop"), look=["baseline"], look_key=LOOK_KEY)
    assert denied.look is None
    assert (await asking.decide(asking.subject("service_status"), look=["probe"], look_key=LOOK_KEY)).look is None
    without_key = await asking.decide(subject, look=["baseline"])
    assert without_key.error is not None


async def test_a_read_grant_covers_hidden_parameters_only_for_a_preview(asking: Asking) -> None:
    parameters = {"file_path": "/srv/a", "content": "hunter2"}
    subject = asking.subject("file_write", parameters=parameters)
    effective = {**parameters, "encoding": "utf-8", "timeout": 60}
    for actions, shown in (
        (["baseline"], {"file_path": "/srv/a", "encoding": "utf-8", "timeout": 60}),
        (["preview"], effective),
    ):
        decided = await asking.decide(subject, look=actions, look_key=LOOK_KEY)
        assert decided.look is not None
        look = open_signed(decided.look, ReadGrant, (asking.files.keys["policy"].public,), "")
        assert look.parameters_digest == keyed_digest(LOOK_KEY, shown)


async def test_the_dry_run_switches_mean_what_they_say(tmp_path: Path, asking: Asking) -> None:
    asking.files.policy(*RULES, enable_dry_run=False)
    assert await asking.code(asking.subject(dry_run=True)) == "dry_run_disabled"
    (tmp_path / "dry").mkdir()
    broker = Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), files(tmp_path / "dry"), dry_run_only=True) as dry:
        assert (await dry.decision(dry.subject())).dry_run
        assert "every operation is a dry run" in str(await dry.service.checks()["control"]())
        granted = await dry.granted(dry.subject())
        assert granted.grant is None
        assert granted.decision is not None


async def test_a_secret_is_in_no_log_no_metric_and_no_error(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for content in ("hunter2", 7):
        subject = asking.subject("file_write", parameters={"file_path": "/srv/a", "content": content})
        decided = await asking.decide(subject)
        assert decided.error is None or "hunter2" not in decided.error.message
        assert decided.decision is None or b"hunter2" not in bytes(decided.decision.payload)
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert "hunter2" not in logged
    assert b"hunter2" not in asking.measured.exposition()[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.sampled_from([b"{}", b"null", b'{"subject":{}}', b"[" * 9000, b'"\\ud800"']))
def test_any_bytes_get_an_answer(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    async def ask() -> None:
        broker = Broker()
        bus = MemoryBus(broker)
        async with replica(MemoryBus(broker), bus, files(tmp_path_factory.mktemp("raw"))):
            decided = decode((await bus.request(subjects.POLICY_DECIDE, data, timeout=30)).data, DecideReply)
            granted = decode((await bus.request(subjects.POLICY_GRANT, data, timeout=30)).data, GrantReply)
            assert decided.error is not None
            assert granted.error is not None
            assert decided.error.code == granted.error.code == "invalid"

    asyncio.run(ask())


@pytest.mark.parametrize(("traced", "kept"), [(0, 0), (40, 40), (150, 120), (10_000, 120)])
async def test_a_trace_is_as_long_as_requested_and_no_longer_than_an_event_holds(
    asking: Asking, traced: int, kept: int
) -> None:
    rule = {"operations": ["service_restart"], "allowed": True, "time_restrictions": [{"start_time": "01:00"}]}
    asking.files.policy(*({**rule, "name": f"rule {number}"} for number in range(119)), RULES[0])
    decision = await asking.decision(asking.subject(), traced=traced)
    assert (decision.effect, len(decision.trace), decision.trace_omitted) == ("allow", kept, 120 - kept)
    assert not kept or decision.trace[0].matched


async def test_long_traces_are_cut_where_an_event_would_be_full(asking: Asking) -> None:
    pattern = "x" * 150
    rule = {"operations": ["service_restart"], "allowed": True}
    constraint = {"parameter_constraints": {"service_name": {"pattern": pattern}}}
    names = [f"{'n' * 50}{number}" for number in range(200)]
    asking.files.policy(*({**rule, **constraint, "name": name} for name in names), RULES[0])
    decision = await asking.decision(asking.subject(), traced=10_000)
    assert 40 <= len(decision.trace) < 201
    assert len(encode(decision.trace)) < 30_000
