"""`writ up` with a real nats-server and stand-ins for the services: created files, restarts, reloads and its end."""

import asyncio
import os
import re
import signal
import socket
from pathlib import Path

import pytest
from tests.installation.stand_in_installations import AGENT, WITHIN, start, up

from writ_client.context import Context, open_bus
from writ_contracts.errors import Invalid, TimedOut, Unreachable
from writ_documents import yaml_file
from writ_documents.readers import read_agents
from writ_installation.administration.principals import add_principal
from writ_installation.files import list_edits
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home, host_token
from writ_installation.processes import child
from writ_installation.status.control import down, restart, status, to_restart
from writ_installation.supervisor import supervisor
from writ_installation.supervisor.options import SupervisorOptions
from writ_testing.exhaustive import some
from writ_testing.peers.nats_server import free_port
from writ_testing.search import alive, files, folders, modes


async def test_an_empty_folder_becomes_an_installation_for_its_owner_alone(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        assert {oct(mode) for mode in modes(folders(one.home.root))} == {"0o700"}
        assert {oct(mode) for mode in modes(files(one.home.root))} == {"0o600"}
        names = {path.stem for path in one.home.keys.glob("*.seed")}
        services = {"bootstrap", "sys", "status", "policy", "executor", "audit", "keeper"}
        assert names == services | {AGENT, "principal-operator"}
        assert [agent.pool for agent in read_agents(one.home.agents).agents] == [f"local-{host_token()}"]
        assert "key" not in one.home.server_config.read_text().replace("nkey", "")
        seeds = [path.read_text().strip() for path in one.home.keys.iterdir()]
        assert not any(seed in one.home.server_config.read_text() for seed in seeds)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("patient")
async def test_status_reports_each_process_of_a_new_installation_as_ready(tmp_path: Path) -> None:
    async with up(tmp_path, replicas={"executors": 2}) as one:
        observed = await status(one.home, {})
        assert observed.ready
        assert {process.name for process in observed.processes} == {
            *("nats", "policy", "audit", "executor-1", "executor-2"),
            AGENT,
        }
        assert observed.journal is not None
        assert observed.journal.messages == 0


@pytest.mark.exhaustive
@pytest.mark.usefixtures("patient")
async def test_status_names_a_stopped_service_with_its_failing_check(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        pid = one.pid("audit")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        observed = await status(one.home, {})
        os.kill(pid, signal.SIGCONT)
        assert not observed.ready
        assert [(process.name, process.state) for process in observed.processes if not process.ready] == [
            ("audit", "no answer")
        ]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", some(["policy", "executor", "nats", AGENT], "executor"))
async def test_a_killed_process_is_started_again(tmp_path: Path, name: str) -> None:
    async with up(tmp_path) as one:
        before = one.pid(name)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await one.until(lambda: one.pid(name) not in (None, before))
        assert next(process.restarts for process in one.report.processes if process.name == name) == 1
        assert f"{name} is ready again" in one.printed
        assert (await status(one.home, {})).ready


@pytest.mark.exhaustive
async def test_replicas_have_names_of_their_own_and_the_first_keeps_its_own(tmp_path: Path) -> None:
    async with up(tmp_path, replicas={"policies": 2, "executors": 2, "audits": 2, "agents": 3}) as one:
        names = {process.name for process in one.report.processes}
        agents = {AGENT, f"{AGENT}.2", f"{AGENT}.3"}
        assert names == {"nats", "policy", "policy.2", "executor-1", "executor-2", "audit", "audit.2", *agents}
        states = {path.name for path in one.home.state.iterdir()}
        assert states == names - {"nats"}


@pytest.mark.exhaustive
async def test_a_restart_takes_one_after_the_other_and_leaves_nats_alone(tmp_path: Path) -> None:
    async with up(tmp_path, replicas={"executors": 2}) as one:
        before = {process.name: process.pid for process in one.report.processes}
        for name in to_restart(one.home, ()):
            others = {process.name: process.pid for process in one.report.processes if process.name != name}
            assert await restart(one.home, name) not in (None, before[name])
            after = {process.name: process.pid for process in one.report.processes if process.name != name}
            assert (after, None in after.values()) == (others, False)
        assert one.pid("nats") == before["nats"]
        order = [line.split()[0] for line in (one.home.run / "order").read_text().splitlines()]
        assert order == ["executor", "executor", "policy", "audit", "agent"], "that of an upgrade"
        with pytest.raises(Invalid, match="no process executor is here: there are nats, policy"):
            to_restart(one.home, ["executor"])


@pytest.mark.exhaustive
async def test_a_process_that_does_not_come_back_ends_the_restart_with_its_last_words(
    tmp_path: Path,
) -> None:
    async with up(tmp_path, {"WRIT_STANDIN_AUDIT": "stay"}, stop_seconds=0.5) as one:
        with pytest.raises(TimedOut, match=r"audit is not ready again after 0.5 s; the end of (?s:.*)audit says hello"):
            await restart(one.home, "audit", within=0.5)


@pytest.mark.exhaustive
async def test_a_restart_kills_a_process_that_hangs_and_no_other(tmp_path: Path) -> None:
    async with up(tmp_path, {"WRIT_STANDIN_AUDIT": "stay"}, stop_seconds=0.2) as one:
        before = {process.name: process.pid or 0 for process in one.report.processes}
        with pytest.raises(TimedOut, match="audit is not ready again"):
            await restart(one.home, "audit", within=2.0)  # it goes on with its work, and replies
        assert one.pid("audit") == before["audit"]
        (one.home.run / "executor.json").unlink()  # as at the end of its work
        for name in ("policy", "executor", "nats"):
            os.kill(before[name], signal.SIGSTOP)
            assert await restart(one.home, name, within=WITHIN) != before[name]


@pytest.mark.exhaustive
async def test_a_restart_ends_at_once_where_nats_lacks_the_permissions_of_a_new_release(tmp_path: Path) -> None:
    async with up(tmp_path, {"WRIT_STANDIN_AUDIT": "outgrow"}) as one:
        needed = r"audit needs permissions that NATS gets from `writ down`, then `writ up`(?s:.*)Forbidden"
        with pytest.raises(Unreachable, match=needed):
            await restart(one.home, "audit", within=WITHIN)


async def test_sigterm_ends_all_in_order(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        pids = one.pids()
        one.process.terminate()
        assert await asyncio.wait_for(one.process.wait(), WITHIN) == 0
        assert not any(alive(pid) for pid in pids)
        order = [line.split()[0] for line in (one.home.run / "order").read_text().splitlines()]
        assert order == ["agent", "executor", "audit", "policy"]
        assert not one.home.report_file.exists()


@pytest.mark.exhaustive
async def test_deaf_service_delays_the_end_for_a_limited_time(tmp_path: Path) -> None:
    async with up(tmp_path, {"WRIT_STANDIN_AUDIT": "stay"}, stop_seconds=0.5) as one:
        pids = one.pids()
        one.process.terminate()
        assert await asyncio.wait_for(one.process.wait(), WITHIN) == 0
        assert "audit did not end within 0.5 s: killed" in one.printed
        assert not any(alive(pid) for pid in pids)


@pytest.mark.usefixtures("patient")
async def test_process_that_cannot_start_again_keeps_its_health_port_in_the_status(tmp_path: Path) -> None:
    # Prometheus scrapes what `writ status -o prometheus` prints: a process that is missing there raises no alert.
    async with up(tmp_path, {"WRIT_STANDIN_AUDIT": "outgrow"}, health_port=free_port()) as one:
        before, pid = await _health_ports(one.home), one.pid("audit")
        (one.home.run / "order").touch()
        os.kill(pid or 0, signal.SIGKILL)
        await one.until(lambda: any(each.state == "restarting" and each.pid is None for each in one.report.processes))
        assert await _health_ports(one.home) == before
        assert before["audit"] is not None


async def _health_ports(home: Home) -> dict[str, int | None]:
    return {one.name: one.health_port for one in (await status(home, {})).processes}


async def test_agents_are_given_the_time_that_their_stop_takes_by_the_variables(tmp_path: Path) -> None:
    async with up(tmp_path, {"WRIT_STOP_GRACE": "120", "WRIT_KILL_GRACE": "5"}) as one:
        given = {each.name: each.stop_seconds for each in one.report.processes}
        assert (given[AGENT], given["executor"]) == (145.0, 15.0)


async def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    async with up(tmp_path, replicas={"executors": 2}) as one:
        pids = one.pids()
        assert len(pids) == 6
        one.process.kill()
        await one.process.wait()
        await one.until(lambda: not any(alive(pid) for pid in pids))
        again = await start(one.home, tmp_path / "again")
        await again.until(lambda: "READY" in again.printed)
        await down(one.home)
        assert await asyncio.wait_for(again.process.wait(), WITHIN) == 0


@pytest.mark.usefixtures("patient")
async def test_second_supervisor_of_a_home_refuses_and_names_the_first(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        second = await start(one.home, tmp_path / "second")
        assert await asyncio.wait_for(second.process.wait(), WITHIN) == 2
        assert second.printed == f"writ: Writ is already up on {one.home.root} (process {one.process.pid})\n"
        assert (await status(one.home, {})).ready


async def test_a_service_that_dies_at_its_start_ends_it_with_its_last_words(tmp_path: Path) -> None:
    one = await start(Home(tmp_path / "home"), tmp_path / "said", {"WRIT_STANDIN_EXECUTOR": "die"})
    assert await asyncio.wait_for(one.process.wait(), WITHIN) == 6
    assert "executor ended with status 1 at its start" in one.printed
    assert "executor cannot go on" in one.printed
    assert "Traceback" not in one.printed


async def test_a_slow_service_is_reported_and_awaited_until_ctrl_c(tmp_path: Path) -> None:
    one = await start(Home(tmp_path / "home"), tmp_path / "said", {"WRIT_STANDIN_POLICY": "sulk"}, slow_seconds=0.5)
    await one.until(lambda: re.search(r"policy is not ready after \S+ s \(mood: will not", one.printed) is not None)
    assert one.process.returncode is None
    one.process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(one.process.wait(), WITHIN) == 0
    assert one.printed.endswith("stopping\n")


@pytest.mark.exhaustive
async def test_a_service_that_is_never_ready_ends_it_with_the_check(tmp_path: Path) -> None:
    one = await start(Home(tmp_path / "home"), tmp_path / "said", {"WRIT_STANDIN_POLICY": "sulk"}, start_seconds=12.0)
    assert await asyncio.wait_for(one.process.wait(), WITHIN) == 6
    assert "policy is not ready after 12 s (mood: will not" in one.printed


async def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one = await start(Home(tmp_path / "home"), tmp_path / "said", nats_port=port)
        assert await asyncio.wait_for(one.process.wait(), WITHIN) == 6
    assert f"port {port} on 127.0.0.1 is taken" in one.printed
    assert "; `writ up --nats-port 0` takes a free port\n" in one.printed
    assert one.printed.count("\n") == 1, one.printed
    assert not one.home.root.exists()


async def test_a_chosen_port_that_somebody_takes_meanwhile_is_chosen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.make_folders()
    create_installation(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([free_port(), taken.getsockname()[1], free_port(), free_port()])
        monkeypatch.setattr(supervisor, "free_port", lambda *_: next(ports))
        installation = supervisor.Supervisor(home, SupervisorOptions(nats_port=0), os.environ, lambda _: None)
        server = installation._make_server()
        await installation._serve(server)
        await server.stop()
    assert list(ports) == []


@pytest.mark.exhaustive
async def test_new_pools_get_keys_accounts_and_here_an_agent(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        for name, more in (
            ("web-9", {"connection": {"host": "elsewhere"}}),
            ("second", {"connection": {"host": host_token()}, "agent": "local-second"}),
        ):
            entry: dict[str, object] = {"id": name, "role": "staging", "backend": "local"}
            list_edits.append(one.home.inventory, "targets", {**entry, **more}, unique="id")
        await one.until(lambda: one.pid("agent-local-second") is not None)
        pools = {agent.pool for agent in read_agents(one.home.agents).agents}
        assert pools == {f"local-{host_token()}", "local-elsewhere", "local-second"}
        assert "agent-local-elsewhere" not in {process.name for process in one.report.processes}
        pool = Context(principal="agent-local-elsewhere", url=one.report.url)
        bus = await open_bus(pool, one.home.key("agent-local-elsewhere").seed, wait=20)
        await bus.drain(1.0)
        await _without(one.home, "second")
        await one.until(lambda: "agent-local-second" not in {process.name for process in one.report.processes})


async def _without(home: Home, target: str) -> None:
    data = yaml_file.read(home.inventory).data
    data["targets"] = [entry for entry in data["targets"] if entry["id"] != target]
    list_edits.write(home.inventory, "", data)


async def test_a_wrong_file_changes_nothing_and_is_named(tmp_path: Path) -> None:
    async with up(tmp_path) as one:
        good = one.home.principals.read_text()
        one.home.principals.write_text(good + "- id: broken\n")
        await one.until(lambda: "a file has an error" in one.printed)
        assert "principals.yaml" in one.printed
        await one.until(lambda: one.report.problem)
        assert "principals.yaml" in (await status(one.home, {})).problem
        one.home.principals.write_text(good)
        assert (await add_principal(one.home, "after", "human", [], None)).admitted is True
        await one.until(lambda: not one.report.problem)


@pytest.mark.exhaustive
async def test_pools_of_others_get_no_process(tmp_path: Path) -> None:
    async with up(tmp_path, without_agents=[f"local-{host_token()}"]) as one:
        assert AGENT not in {process.name for process in one.report.processes}
        assert one.home.seed_file(AGENT).exists()


async def test_down_and_status_say_when_nothing_runs(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(Unreachable, match="is not up"):
        await down(home)
    with pytest.raises(Unreachable, match="is not up"):
        await status(home, {})


def test_the_pauses_between_restarts_grow_and_are_bounded() -> None:
    assert 0 < child.FIRST_PAUSE < child.LONGEST_PAUSE <= 30
    assert SupervisorOptions().nats_port == 4222
