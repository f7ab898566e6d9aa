"""`simulate`, `can-i` and `run` give the same answer and exit status, for the catalogue on each kind of target."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from msgspec import inspect, to_builtins
from tests.rules.small_world import PARAMETERS

from writ_cli.main import cli
from writ_cli.terminal.exit_status import Exit, of_decision, of_error, of_outcome, of_simulation
from writ_client.client import Writ
from writ_client.tools.capability_tools import CapabilityTools
from writ_client.tools.policy_management_tools import PolicyManagementTools
from writ_contracts.errors import WritError
from writ_contracts.failures import error_of
from writ_contracts.operations import Operation
from writ_contracts.policy.questions import PolicyCanIReply
from writ_contracts.requests import ExpectedFailure, Verdict
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
CATALOGUE = load_catalogue()
TARGETS = ("web-1", "web-2", "bare", "far", "box", "cluster", "nowhere", "writ")
NO_BACKUPS = {"repository": "/nonexistent/repository", "password_file": "/nonexistent/password"}
BACKENDS = {"web-1": "local", "web-2": "local", "bare": "local", "far": "ssh", "box": "docker", "cluster": "proxmox"}
DENIED = ("file_delete", "package_install")
APPROVED = ("service_stop", "backup_delete", "operation_cancel")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """`web-1` and `bare` have an agent here, `web-2` one whose pool has none; the agents of the other backends reach no
    host. `bare` lacks what operations need there.
    """
    folder = tmp_path_factory.mktemp("installation")
    deny = {"name": "never", "operations": list(DENIED), "allowed": False}
    ask = {"name": "asks", "operations": list(APPROVED), "allowed": True, "requires_approval": True}
    controls = {"name": "controls", "operations": ["stop_set", "audit_read", "backend_test"], "allowed": True}
    targets = [
        local_target("web-1", folder),
        local_target("web-2", Path("/"), connection={"host": "elsewhere"}),
        local_target("bare", folder / "none", backup=NO_BACKUPS, scan_networks=["192.0.2.0/24"]),
        {"id": "far", "role": "development", "backend": "ssh", "connection": {"host": "127.0.0.1", "user": "nobody"}}
        | {"file_roots": [{"path": "/", "allow_system_root": True}]},
        {"id": "box", "role": "development", "backend": "docker", "connection": {"socket": str(folder / "none.sock")}},
        {"id": "cluster", "role": "development", "backend": "proxmox", "connection": {"host": "127.0.0.1", "port": 1}},
    ]
    home = prepare(folder, targets=targets, policy=open_policy(deny, ask, controls))
    rates = {"WRIT_BURST": "100000", "WRIT_REFUSAL_BURST": "100000"}
    async with running_installation(folder, home=home, environ=rates) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


def parameters(operation: Operation) -> dict[str, Any]:
    """Return the required parameters, each with a valid value."""
    known = PARAMETERS.get(operation.name, {})
    fields = [field for field in msgspec.structs.fields(operation.parameters) if field.required]
    return {field.encode_name: known.get(field.encode_name, [_value(field.type)])[0] for field in fields}


def _value(kind: Any) -> Any:
    match inspect.type_info(kind):
        case inspect.ListType():
            return []
        case inspect.IntType() | inspect.FloatType():
            return 1
        case inspect.LiteralType(values=values):
            return values[0]
        case _:
            return "a" * 26


async def simulated(
    writ: Writ, operation: str, target: str, arguments: dict[str, Any], *, dry_run: bool = True
) -> tuple[Exit, str]:
    try:
        answer = await writ.simulate(operation, target, arguments, dry_run=dry_run)
    except WritError as error:
        return of_error(error), error.code
    return _shown(answer.verdict, answer.fails)


def _shown(verdict: Verdict | PolicyCanIReply | None, fails: ExpectedFailure | None) -> tuple[Exit, str]:
    assert verdict is not None
    status = of_simulation(verdict.decision, fails=fails is not None)
    return status, f"{fails.code}: {fails.message}" if fails and status is Exit.FAILED else verdict.code


async def checked(writ: Writ, operation: str, target: str, arguments: dict[str, Any]) -> tuple[Exit, str]:
    try:
        answer = await writ.policy.can_i(operation, target, arguments, dry_run=True)
    except WritError as error:
        return of_error(error), error.code
    return _shown(answer, answer.fails)


async def run(
    writ: Writ, operation: str, target: str, arguments: dict[str, Any], *, dry_run: bool = True
) -> tuple[Exit, str]:
    answer = await writ.submit(operation, target, arguments, dry_run=dry_run)
    if answer.verdict is not None and answer.verdict.decision == "require_approval":
        return of_decision(answer.verdict.decision), answer.verdict.code
    if answer.outcome in (None, "previewed"):
        assert answer.verdict is not None
        return Exit.DONE, answer.verdict.code
    code = answer.verdict.code if answer.verdict else error_of(answer.error).code if answer.error else ""
    return of_outcome(answer.outcome), code


async def ended(
    writ: Writ, operation: str, target: str, arguments: dict[str, Any], *, dry_run: bool = True
) -> tuple[Exit, str]:
    requested = await writ.request(operation, target, arguments, dry_run=dry_run, wait=60)
    assert requested.view is not None, requested.answer
    return of_outcome(requested.view.outcome), f"{requested.view.code}: {requested.view.message}"


def cases(target: str, every: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the operations of the target's backend with valid parameters. Of the pairs that nobody can carry out, yield
    one in `every`, for each target others: wrong parameters, and operations that are for other targets.
    """
    for at, (name, operation) in enumerate(CATALOGUE.items(), TARGETS.index(target)):
        if at % every == 0 or BACKENDS.get(target, target) in operation.backends:
            yield name, parameters(operation)
        if at % every == 0:
            yield name, {"nothing_like_it": 1}


every_target = pytest.mark.parametrize("target", TARGETS)
catalogue = pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.exhaustive)])


@every_target
@catalogue
async def test_a_simulated_request_gets_the_answer_of_the_request_itself(writ: Writ, target: str, every: int) -> None:
    exits: set[Exit] = set()
    for name, arguments in cases(target, every):
        verdict = await simulated(writ, name, target, arguments)
        request = ended if verdict[0] is Exit.FAILED else run
        answer = await request(writ, name, target, arguments)
        assert verdict == answer, (name, arguments)
        assert await checked(writ, name, target, arguments) == answer, (name, arguments)
        exits.add(answer[0])
    served = {Exit.DONE, Exit.INVALID}
    expected = {"web-1": {*served, Exit.DENIED, Exit.PENDING}, "far": served, "box": served, "cluster": served}
    assert exits >= expected.get(target, {Exit.INVALID})


@every_target
@catalogue
async def test_a_request_that_would_not_run_gets_the_same_answer_without_a_dry_run(
    writ: Writ, target: str, every: int
) -> None:
    """Operations that would run are left out: this machine would be changed."""
    exits: set[Exit] = set()
    for name, arguments in cases(target, every):
        verdict = await simulated(writ, name, target, arguments, dry_run=False)
        exits.add(verdict[0])
        if verdict[0] is not Exit.DONE:
            request = ended if verdict[0] is Exit.FAILED else run
            assert await request(writ, name, target, arguments, dry_run=False) == verdict, (name, arguments)
    failing = {Exit.INVALID, Exit.DENIED, Exit.PENDING, Exit.FAILED}
    assert exits >= (failing if target in ("web-1", "bare") else {Exit.INVALID})


async def test_a_simulation_tells_what_the_host_lacked_in_its_test_until_the_next_one(
    installation: RunningInstallation, writ: Writ
) -> None:
    """On a host without systemd, an operation on services fails too."""
    arguments = {"backup_id": "b", "target_path": "/srv/a"}
    untested = await writ.simulate("backup_list", "bare")
    assert (untested.fails, untested.host_tested_at) == (None, None)
    await known_lacks(writ, "bare")
    expected = await writ.simulate("backup_create", "bare", arguments)
    assert expected.verdict is not None
    assert expected.verdict.decision == "allow"
    assert expected.fails is not None
    assert expected.fails.found_at == expected.host_tested_at
    assert (await writ.policy.can_i("backup_create", "bare", arguments)).fails == expected.fails
    tools, policy = CapabilityTools(writ), PolicyManagementTools(writ)
    shown = await tools.simulate_operation("backup_create", "bare", parameters=arguments)
    assert shown["would_fail"] == to_builtins(expected.fails)
    allowed = await policy.list_allowed_operations(target_id="bare")
    assert "backup_create" not in allowed["allowed_operations"]
    assert {"operation_type": "backup_create", "target_id": "bare", **shown["would_fail"]} in allowed["unavailable"]
    words = ("backup_create", "-t", "bare", "backup_id=b", "target_path=/srv/a")
    for command in (("simulate",), ("policy", "can-i")):
        done = await by_command(installation, *command, *words)
        assert done.exit_code == 1, done.output
        assert f"would fail: {expected.fails.code}: {expected.fails.message}; found at" in " ".join(done.output.split())
    assert (await writ.simulate("service_stop", "bare", {"service_name": "nginx"})).verdict is not None
    approval = await by_command(installation, "simulate", "backup_delete", "-t", "bare", "backup_id=b")
    assert approval.exit_code == 4, approval.output  # it waits for an approval, as `run` does
    for name, operation in CATALOGUE.items():
        for dry_run in (True, False):
            given = parameters(operation)
            verdict = await simulated(writ, name, "bare", given, dry_run=dry_run)
            if verdict[0] is Exit.FAILED:
                assert await ended(writ, name, "bare", given, dry_run=dry_run) == verdict, name


async def known_lacks(writ: Writ, target: str) -> None:
    await writ.backend_test(target)

    async def known() -> bool:
        return (await writ.simulate("test_noop", target)).host_tested_at is not None

    await eventually(known)


async def by_command(installation: RunningInstallation, *words: str) -> Result:
    runner = CliRunner(env={"WRIT_HOME": str(installation.home.root), "WRIT_PRINCIPAL": "operator", "NATS_URL": ""})
    return await asyncio.to_thread(runner.invoke, cli, words)


@pytest.mark.parametrize("operation", ["backup_list", "network_scan"])
async def test_operation_without_its_key_in_the_inventory_is_refused_before_it_is_dispatched(
    writ: Writ, operation: str
) -> None:
    arguments = parameters(CATALOGUE[operation])
    for dry_run in (True, False):
        for answer in (simulated, run):
            assert await answer(writ, operation, "web-1", arguments, dry_run=dry_run) == (Exit.INVALID, "not_declared")
    assert await checked(writ, operation, "web-1", arguments) == (Exit.INVALID, "not_declared")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("test_noop", "-t", "web-1"), 0),
        (("guest_migrate", "-t", "web-1", "guest_name=web", "node=b"), 2),
        (("file_delete", "-t", "web-1", "file_path=/srv/a"), 3),
        (("service_stop", "-t", "web-1", "service_name=nginx"), 4),
    ],
)
async def test_simulate_and_can_i_exit_with_the_status_of_run(
    installation: RunningInstallation, words: tuple[str, ...], status: int
) -> None:
    runner = CliRunner(env={"WRIT_HOME": str(installation.home.root), "WRIT_PRINCIPAL": "operator", "NATS_URL": ""})
    for command in (("simulate",), ("policy", "can-i")):
        done = await asyncio.to_thread(runner.invoke, cli, [*command, *words])
        assert done.exit_code == status, (command, done.output)


async def test_simulate_and_can_i_say_that_no_agent_of_the_target_is_online(
    installation: RunningInstallation, writ: Writ
) -> None:
    async def noticed() -> bool:  # an executor that has just started takes nobody for silent
        return (await writ.simulate("test_noop", "web-2")).waiting is not None

    await eventually(noticed)
    text = (
        "would wait for an agent of pool local-elsewhere: none is online, and it expires if none comes online in time"
    )
    answer = await writ.policy.can_i("test_noop", "web-2")
    assert (answer.decision, answer.waiting and answer.waiting.text) == ("allow", text)
    tool = await CapabilityTools(writ).simulate_operation("test_noop", "web-2")
    assert tool["waiting"] == text
    assert (await writ.simulate("test_noop", "web-1")).waiting is None
    assert (await writ.simulate("file_delete", "web-2", {"file_path": "/srv/a"})).waiting is None  # denied
    assert (await writ.simulate("stop_set", "writ", {"scope": ["web-1"], "reason": "x"})).waiting is None
    runner = CliRunner(env={"WRIT_HOME": str(installation.home.root), "WRIT_PRINCIPAL": "operator", "NATS_URL": ""})
    for command in (("simulate",), ("policy", "can-i")):
        shown = await asyncio.to_thread(runner.invoke, cli, [*command, "test_noop", "-t", "web-2"])
        assert (shown.exit_code, f"notice: {text}" in shown.output) == (0, True), shown.output
        parsed = await asyncio.to_thread(runner.invoke, cli, [*command, "test_noop", "-t", "web-2", "-o", "json"])
        assert json.loads(parsed.output)["waiting"] == {
            "kind": "agent",
            "text": text,
            "operation_id": "",
            "rule": "",
            "silent": "pool local-elsewhere",
        }
    accepted = await asyncio.to_thread(runner.invoke, cli, ["run", "test_noop", "-t", "web-2", "--no-wait"])
    assert accepted.exit_code == 0, accepted.output
