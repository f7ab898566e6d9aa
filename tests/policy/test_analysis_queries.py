"""Queries about the policy: everybody may query their own access, and decisions never wait for a query."""

import asyncio
import json
import signal
from collections.abc import Mapping
from typing import Any, cast

import pytest
from msgspec import structs
from tests.policy.replica import RULES, Asking
from tests.rules.asking import NOON, at, rule

from writ_bus.port import Bus, Message
from writ_client.queries.policy_queries import PolicyQueries
from writ_contracts import subjects
from writ_contracts.errors import Denied, Invalid, Untrusted
from writ_contracts.policy.questions import (
    MAX_REQUESTS,
    EvalRequest,
    PolicyCanIQuery,
    PolicyCanIReply,
    PolicyEvalQuery,
)
from writ_contracts.questions import QUESTIONS
from writ_contracts.wire import encode
from writ_documents import yaml_file
from writ_policy.endpoints.queries import rated_endpoint
from writ_runtime.buckets import Buckets
from writ_runtime.metrics import HandledMessage

READ = {"name": "read", "operations": ["audit_read"], "allowed": True, "users": ["alice"]}
NGINX = {"service_name": "nginx"}
MINE = [one.kind for one in QUESTIONS if one.kind.startswith("policy_")]


class Vouched:
    """A bus on which the server names the sender's key."""

    def __init__(self, asking: Asking, principal: str, key: str) -> None:
        self._bus = asking.bus
        self._info = {"Nats-Request-Info": json.dumps({"user": asking.files.keys[key].public})}

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        return await self._bus.request(subject, data, timeout=timeout, headers={**(headers or {}), **self._info})


class Questions(PolicyQueries):
    """Queries to the policy service alone, where the client would query the executor."""

    async def can_i(
        self, operation: str, target: str, parameters: Mapping[str, Any] | None = None, *, dry_run: bool = False
    ) -> PolicyCanIReply:
        question = PolicyCanIQuery(
            operation=operation, target=target, parameters=dict(parameters or {}), dry_run=dry_run
        )
        return await self._query("policy_can_i", question, PolicyCanIReply)


def by(asking: Asking, principal: str, key: str | None = None) -> PolicyQueries:
    """Send queries as this principal, with its key."""
    return Questions(cast(Bus, Vouched(asking, principal, key or principal)), principal)


async def put(asking: Asking, kind: str, question: Any) -> Any:
    """Send one question as alice."""
    subject = subjects.query("alice", kind)
    return json.loads((await Vouched(asking, "alice", "alice").request(subject, encode(question), timeout=20)).data)


@pytest.fixture
def alice(asking: Asking) -> PolicyQueries:
    """May read the policy."""
    asking.files.policy(*RULES, READ)
    return by(asking, "alice")


def request(principal: str = "alice", **keys: Any) -> EvalRequest:
    return EvalRequest(principal=principal, operation="service_restart", target="web-a", parameters=NGINX, **keys)


async def test_principal_may_query_about_itself_and_its_agent(asking: Asking) -> None:
    bob = by(asking, "bob")
    assert (await bob.can_i("service_restart", "web-a", NGINX)).decision == "allow"
    assert (await bob.can_i("package_remove", "web-a", {"package_name": "web"})).code == "no_rule"
    assert (await bob.explain("service_restart", "web-a", NGINX)).principal == "bob"
    assert {one.operation for one in (await bob.allowed(principal="bob")).accesses if one.allowed != "never"} == {
        *("service_restart", "service_status", "file_write", "file_delete", "stop_set", "stop_lift")
    }
    (answer,) = await bob.eval([request("bob")])
    assert answer.decision == "allow"
    assert (await by(asking, "alice").explain("service_restart", "web-a", NGINX, principal="copilot")).decision


async def test_queries_about_others_require_permission_to_read_the_policy(asking: Asking) -> None:
    bob, text = by(asking, "bob"), "policies: {name: x}"
    for question in (
        bob.explain("service_restart", "web-a", NGINX, principal="alice"),
        bob.eval([request("bob"), request("alice")]),
        bob.allowed(),
        bob.allowed(principal="alice"),
        bob.who_can("service_restart"),
        bob.validate(text),
        bob.test(text),
        bob.diff(text),
    ):
        with pytest.raises(Denied):
            await question


async def test_reader_of_the_policy_may_query_about_everybody(asking: Asking, alice: PolicyQueries) -> None:
    explained = await alice.explain("service_restart", "web-a", NGINX, principal="bob", at=at(NOON))
    assert (explained.decision, explained.rules, explained.at) == ("allow", ["services"], at(NOON))
    assert explained.policy.startswith("test@")
    assert [one.decision for one in await alice.eval([request("bob"), request("nobody")])] == ["allow", "invalid"]
    assert len((await alice.allowed()).accesses) > 10
    able = await alice.who_can("service_restart", "web-a", NGINX)
    assert [sorted(one.principals) for one in able.accesses] == [["alice", "bob", "copilot"]]
    broken = await alice.validate(yaml_file.dump({"policies": {"global_policies": [rule("a", "reboot")]}}))
    assert (broken.valid, broken.problems[0].severity) == (False, "lint")


async def test_one_operation_is_decided_in_all_combinations(alice: PolicyQueries) -> None:
    everywhere = ["web-a", "writ"]
    reported = await alice.matrix(
        "service_restart", NGINX, targets=everywhere, principals=["bob", "nobody"], at=[at(NOON), at(NOON) + 60]
    )
    assert [(one.principal, one.target) for one, _ in reported[::2]] == [
        (who, target) for who in ("bob", "nobody") for target in everywhere
    ]
    assert len({one.at for one, _ in reported}) == 2
    assert [result.decision for _, result in reported] == ["allow", "allow", *["invalid"] * 6]
    assert [one.principal for one, _ in await alice.matrix("service_restart", NGINX, targets=["web-a"])] == ["alice"]
    with pytest.raises(Invalid, match="name fewer targets"):
        await alice.matrix("service_restart", NGINX, targets=["web-a"] * (MAX_REQUESTS + 1))


async def test_suite_runs_on_the_policy_in_force(alice: PolicyQueries) -> None:
    case = {
        "name": "bob restarts",
        "callers": ["bob"],
        "targets": ["web-a"],
        "operations": ["service_restart"],
        "parameters": NGINX,
        "decision": "deny",
    }
    lists = {"policy": "x", "inventory": "x", "principals": "x", "now": NOON}
    found = await alice.test(yaml_file.dump({**lists, "cases": [case]}))
    assert (found.cases, found.failed) == (1, 1)
    assert found.failures[0].wrong == ["decision: expected deny, got allow"]
    other = yaml_file.dump({"policies": {"name": "none"}})
    assert (await alice.test(yaml_file.dump({**lists, "cases": [case]}), document=other)).failed == 0


async def test_versions_are_compared_by_number_and_with_a_document(asking: Asking, alice: PolicyQueries) -> None:
    await alice.can_i("service_restart", "web-a", NGINX)  # the change of the file is the next version
    assert {(one.kind, one.operation) for one in (await alice.diff(2, 1)).changes} == {("newly_allowed", "audit_read")}
    none = yaml_file.dump({"policies": {"name": "none"}})
    assert {one.kind for one in (await alice.diff(none)).changes} == {"newly_denied"}
    with pytest.raises(Invalid, match="no valid version 99"):
        await alice.diff(99)


async def test_stops_and_emergencies_in_force_count(asking: Asking, alice: PolicyQueries) -> None:
    await asking.control("stop_set", {"scope": ["web-a"], "reason": "fire", "until": None})
    assert (await alice.can_i("service_restart", "web-a", NGINX)).code == "stopped"
    assert (await alice.can_i("service_restart", "web-b", NGINX)).decision == "allow"


async def test_query_with_another_key_is_refused(asking: Asking) -> None:
    with pytest.raises(Untrusted):
        await by(asking, "alice", "bob").can_i("service_restart", "web-a", NGINX)
    with pytest.raises(Untrusted):
        await by(asking, "stranger").can_i("service_restart", "web-a", NGINX)


async def test_malformed_question_is_invalid(alice: PolicyQueries) -> None:
    with pytest.raises(Invalid, match="nowhere"):
        await alice.can_i("service_restart", "nowhere")
    with pytest.raises(Invalid):
        await alice.explain("service_restart", "web-a", {"service_name": 5})


async def test_many_requests_are_split_into_several_queries(asking: Asking, alice: PolicyQueries) -> None:
    asking.files.policy(*[rule(f"rule-{at}", "service_restart", users=["nobody"]) for at in range(60)], READ)
    long = [structs.replace(request(id=at), parameters={"service_name": "n" * 200}) for at in range(350)]
    assert [answer.id for answer in await alice.eval(long)] == list(range(350))
    reported = await put(asking, "policy_eval", PolicyEvalQuery(requests=long))
    assert reported["error"]["code"] == "oversize"
    too_many = await put(asking, "policy_eval", PolicyEvalQuery(requests=[request()] * (MAX_REQUESTS + 1)))
    assert too_many["error"]["code"] == "invalid"


async def test_decisions_do_not_wait_for_what_takes_long(asking: Asking, alice: PolicyQueries) -> None:
    many = PolicyEvalQuery(requests=[request()] * MAX_REQUESTS)
    await alice.allowed()
    beside = asking.service._analysis_pool._process
    assert beside is not None
    for heavy in (put(asking, "policy_eval", many), alice.allowed()):
        beside.send_signal(signal.SIGSTOP)  # it takes as long as the decisions do
        requested = asyncio.create_task(heavy)
        await asyncio.sleep(0)
        for _ in range(3):
            assert (await asking.decision(asking.subject())).effect == "allow"
        assert not requested.done()
        beside.send_signal(signal.SIGCONT)
        await requested


async def test_queries_above_the_rate_of_one_principal_are_refused_and_others_answered() -> None:
    async def nothing(_: Message) -> PolicyCanIReply:
        return PolicyCanIReply()

    handled: list[HandledMessage] = []
    endpoint = rated_endpoint("query_policy_can_i", nothing, handled.append, Buckets(rate=0.0, burst=2.0))  # type: ignore[arg-type]
    for principal in ("bob", "bob", "bob", "alice"):
        await endpoint.handler(Message(subjects.query(principal, "policy_can_i"), b"{}"))
    assert [(one.code, one.outcome) for one in handled] == [
        ("", "ok"),
        ("", "ok"),
        ("rate_limited", "refused"),
        ("", "ok"),
    ]


@pytest.mark.parametrize("kind", MINE)
@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", b'{"odd": 1}', b"\xff"])
async def test_any_bytes_get_an_answer(asking: Asking, kind: str, data: bytes) -> None:
    bus = Vouched(asking, "alice", "alice")
    answer = await bus.request(subjects.query("alice", kind), data, timeout=30)
    assert json.loads(answer.data)["error"]["code"] == "invalid"


async def test_short_query_does_not_wait_for_the_end_of_longer_ones_of_another_principal(
    asking: Asking, alice: PolicyQueries
) -> None:
    many = PolicyEvalQuery(requests=[request()] * MAX_REQUESTS)
    longer = [asyncio.create_task(put(asking, "policy_eval", many)) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(await by(asking, "bob").eval([request("bob")])) == 1
    assert not any(one.done() for one in longer)
    assert [len(one["results"]) for one in await asyncio.gather(*longer)] == [MAX_REQUESTS] * 3
