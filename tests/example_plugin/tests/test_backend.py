"""The backend keeps the promises of its port: the suite of Writ, on a router."""

import asyncio
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from writ_router.api import RouterApi
from writ_router.simulator import CAMERA
from writ_router.trial_host import TOKEN, TrialHost, trial_host

from writ_contracts.errors import Denied, Invalid, TimedOut, Unreachable
from writ_testing.eventually import eventually
from writ_testing.suites.backend import BackendSuite, ProgressRecorder, run


@pytest.fixture
def host(tmp_path: Path) -> Iterator[TrialHost]:
    with trial_host(tmp_path) as one:
        yield one


class TestBackend(BackendSuite):
    """The suite."""


async def test_a_router_that_is_off_or_refuses_the_token_has_no_effect(host: TrialHost) -> None:
    with pytest.raises(Unreachable):
        await RouterApi("http://127.0.0.1:9", TOKEN).call("GET", "status")
    with pytest.raises(Denied, match="refuses the token"):
        await RouterApi(host.url, "another").call("PUT", "devices", CAMERA, body={"blocked": True})
    with pytest.raises(Invalid, match="no x here"):
        await RouterApi(host.url, TOKEN).call("GET", "services", "x")
    with pytest.raises(Invalid, match="not http"):
        RouterApi("ftp://router", TOKEN)
    assert not await host.changed("")


async def test_a_change_without_an_answer_is_unknown(host: TrialHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*request: object) -> object:
        raise TimeoutError

    monkeypatch.setattr("http.client.HTTPConnection.getresponse", broken)
    with pytest.raises(TimedOut):
        await RouterApi(host.url, TOKEN).call("GET", "status")
    done = await run(host, host.change("unanswered"))
    assert (done.outcome, done.effect) == ("unknown", "maybe")
    await eventually(lambda: host.changed(""), what="the change on the router")


async def test_a_stop_waits_for_the_request_that_is_under_way(host: TrialHost, monkeypatch: pytest.MonkeyPatch) -> None:
    answered, received = HTTPConnection.getresponse, threading.Event()

    def late(connection: HTTPConnection) -> HTTPResponse:
        received.wait(20)
        return answered(connection)

    monkeypatch.setattr(HTTPConnection, "getresponse", late)
    running = asyncio.create_task(host.backend.run(host.slow("late"), ProgressRecorder()))
    await eventually(lambda: host.busy("late"))
    stopping = asyncio.create_task(host.backend.stop("late", 5.0))
    await asyncio.sleep(0)
    received.set()
    assert await stopping
    assert (await running).outcome == "cancelled"
    assert not await host.busy("late")


async def test_progress_of_an_installation_is_in_percent(host: TrialHost) -> None:
    heard = ProgressRecorder()
    host.state.seconds = 0.5
    await host.backend.run(host.slow("progress"), heard)
    assert heard.words
    assert all(word.endswith(" %") for word in heard.words)
