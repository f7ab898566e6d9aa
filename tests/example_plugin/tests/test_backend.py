"""The backend keeps the promises of its port: the suite of Writ, on a router."""

from collections.abc import Iterator

import pytest
from writ_router.api import RouterApi
from writ_router.backend import RouterBackend
from writ_router.operations import OPERATIONS
from writ_router.simulator import CAMERA, RouterState, router

from writ_agent.backends.port import Backend, Done, Task
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import Denied, Invalid, TimedOut, Unreachable
from writ_contracts.inventory import Target
from writ_testing.suites.backend import BackendSuite, ProgressRecorder, run, task
from writ_testing.suites.host_trials import Trial

DEVICES, BLOCK, INSTALL = OPERATIONS
STATUS, RESTART = (next(one for one in BUILT_IN if one.name == name) for name in ("service_status", "service_restart"))
TOKEN, KEY = "token", "correct horse"


class Host:
    """The backend, and a router to try it on."""

    def __init__(self, url: str, state: RouterState) -> None:
        self.backend: Backend = RouterBackend(TOKEN)
        self.url, self.state = url, state
        self.target = Target(id="router-1", role="testing", backend="router", connection={"url": url})

    def change(self, operation_id: str) -> Task:
        return task(BLOCK, self.target, operation_id, mac=CAMERA)

    def slow(self, operation_id: str) -> Task:
        return task(INSTALL, self.target, operation_id, version="2.0", key=KEY)

    def refused(self, operation_id: str) -> Task:
        return task(INSTALL, self.target, operation_id, version="2.0", key="wrong")

    async def changed(self, operation_id: str) -> bool:
        return self.state.devices[CAMERA]

    async def busy(self, operation_id: str) -> bool:
        work = self.state.installing
        return work is not None and work["id"] == operation_id

    def trials(self) -> Iterator[Trial]:
        state = self.state
        state.seconds = 0.3

        async def blocked(done: Done | None) -> bool:
            return state.devices[CAMERA]

        async def installed(done: Done | None) -> bool:
            return state.version == "2.0"

        async def restarted(done: Done | None) -> bool:
            return state.starts["dnsmasq"] == 2

        async def listed(done: Done | None) -> bool:
            return done is not None and done.output["devices"] == state.devices

        async def running(done: Done | None) -> bool:
            return done is not None and done.output["active_state"] == "active"

        yield Trial(self.change("block"), blocked)
        yield Trial(task(DEVICES, self.target, "devices"), listed)
        yield Trial(self.slow("install"), installed)
        yield Trial(task(STATUS, self.target, "status", service_name="dnsmasq"), running)
        yield Trial(task(RESTART, self.target, "restart", service_name="dnsmasq"), restarted)

    @property
    def elsewhere(self) -> set[str]:
        return set()


@pytest.fixture
def host() -> Iterator[Host]:
    with router(TOKEN, 60.0) as (url, state):
        yield Host(url, state)


class TestBackend(BackendSuite):
    """The suite."""


async def test_a_router_that_is_off_or_refuses_the_token_has_no_effect(host: Host) -> None:
    with pytest.raises(Unreachable):
        await RouterApi("http://127.0.0.1:9", TOKEN).call("GET", "status")
    with pytest.raises(Denied, match="refuses the token"):
        await RouterApi(host.url, "another").call("PUT", "devices", CAMERA, body={"blocked": True})
    with pytest.raises(Invalid, match="no x here"):
        await RouterApi(host.url, TOKEN).call("GET", "services", "x")
    with pytest.raises(Invalid, match="not http"):
        RouterApi("ftp://router", TOKEN)
    assert not await host.changed("")


async def test_a_change_without_an_answer_is_unknown(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*request: object) -> object:
        raise TimeoutError

    monkeypatch.setattr("http.client.HTTPConnection.getresponse", broken)
    with pytest.raises(TimedOut):
        await RouterApi(host.url, TOKEN).call("GET", "status")
    done = await run(host, host.change("unanswered"))
    assert (done.outcome, done.effect) == ("unknown", "maybe")
    assert await host.changed("")


async def test_progress_of_an_installation_is_in_percent(host: Host) -> None:
    heard = ProgressRecorder()
    host.state.seconds = 0.5
    await host.backend.run(host.slow("progress"), heard)
    assert heard.words
    assert all(word.endswith(" %") for word in heard.words)
