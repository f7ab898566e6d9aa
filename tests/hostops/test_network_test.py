"""network_test on loopback: open and closed ports, silence, and an end in time each way."""

import socket
import threading
from collections.abc import Iterator

import pytest
from tests.hostops.conftest import Ask

from writ_hostops import CancelToken


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Yield a listener that accepts connections (the kernel does) and stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def http_server(server: socket.socket, answer: bytes) -> threading.Thread:
    """Answers one request with these bytes."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_listening_port_is_reached_the_requested_number_of_times(ask: Ask, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    result = ask("network_test", host="127.0.0.1", protocol="tcp", port=port, count=2)
    assert (result["outcome"], result["effect"]) == ("succeeded", "none")
    output = result["output"]
    assert (output["address"], output["reachable"], output["sent"], output["received"]) == ("127.0.0.1", True, 2, 2)
    assert output["fastest_ms"] <= output["average_ms"] <= output["slowest_ms"]


def test_a_port_that_refuses_is_an_answer_and_no_failure(ask: Ask) -> None:
    with socket.socket() as held:  # so that nobody else listens there meanwhile
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        for protocol in ("tcp", "http"):
            result = ask("network_test", host="127.0.0.1", protocol=protocol, port=port, count=1)
            assert result["outcome"] == "succeeded"
            assert (result["output"]["reachable"], result["output"]["fastest_ms"]) == (False, None)
            assert "refused" in result["output"]["detail"]


def test_any_http_status_is_an_answer(ask: Ask, listener: socket.socket) -> None:
    thread = http_server(listener, b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
    port = listener.getsockname()[1]
    result = ask("network_test", host="localhost", protocol="http", port=port, count=1)
    thread.join()
    assert result["output"]["detail"] == "HTTP/1.1 503 Service Unavailable"
    assert result["output"]["reachable"]


def test_listener_without_http_is_not_reached(ask: Ask, listener: socket.socket) -> None:
    thread = http_server(listener, b"\xff" * 3000 + b"\n")
    port = listener.getsockname()[1]
    result = ask("network_test", host="127.0.0.1", protocol="http", port=port, count=1)
    thread.join()
    assert not result["output"]["reachable"]


def test_silent_port_ends_with_the_timeout(ask: Ask, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    result = ask("network_test", host="127.0.0.1", protocol="http", port=port, count=1, timeout=1)
    assert (result["outcome"], result["output"].get("reachable", False)) == ("succeeded", False)


def test_an_echo_comes_back_from_loopback(ask: Ask) -> None:
    result = ask("network_test", host="127.0.0.1", count=2)
    if result["code"] == "permission_denied":  # this user may send no ICMP
        assert result["message"] == "the system lets this user send no ICMP"
    else:
        assert (result["output"]["sent"], result["output"]["received"]) == (2, 2)


def test_dns_is_the_hosts_own_resolver(ask: Ask) -> None:
    known = ask("network_test", host="localhost", protocol="dns", count=1)["output"]
    assert (known["reachable"], known["address"] in ("127.0.0.1", "::1")) == (True, True)


def test_a_name_that_the_resolver_does_not_know_is_an_answer(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown_to_it(*arguments: object, **options: object) -> None:  # the true one may ask servers elsewhere
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_to_it)
    unknown = ask("network_test", host="no-such-host.invalid", protocol="dns", count=1)
    assert (unknown["outcome"], unknown["output"]["reachable"]) == ("succeeded", False)
    assert "the resolver of this host does not know the name" in unknown["output"]["detail"]
    assert ask("network_test", host="no-such-host.invalid", protocol="tcp", port=1)["output"]["sent"] == 0


def test_a_resolver_that_hangs_is_left_behind(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: over.wait(60) and [])
    result = ask("network_test", host="slow.example", protocol="dns", count=1, timeout=1)
    over.set()
    assert (result["outcome"], result["output"]["reachable"]) == ("succeeded", False)


def test_cancel_ends_a_running_network_operation(ask: Ask, listener: socket.socket) -> None:
    with CancelToken(30.0) as stop:
        threading.Timer(0.1, stop.cancel).start()
        port = listener.getsockname()[1]
        result = ask("network_test", host="127.0.0.1", protocol="http", port=port, stop=stop)
    assert (result["outcome"], result["effect"]) == ("cancelled", "none")


@pytest.mark.parametrize(
    "parameters",
    [
        {"host": "127.0.0.1", "protocol": "tcp"},
        {"host": "127.0.0.1", "protocol": "icmp", "port": 7},
        {"host": "127.0.0.1", "protocol": "gopher"},
        {"host": "127.0.0.1", "count": 21},
        {"host": ""},
    ],
)
def test_meaningless_combination_is_refused(ask: Ask, parameters: dict[str, object]) -> None:
    assert ask("network_test", **parameters)["code"] == "invalid_parameter"
