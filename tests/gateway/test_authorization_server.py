"""The gateway with a real authorization server on loopback: keys, fetched with a cooldown, and introspection."""

import asyncio
import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from tests.gateway.test_access_tokens import ISSUER, KEY, URL, claims, signed

from writ_contracts.errors import Unreachable
from writ_gateway.http import json_fetch
from writ_gateway.http.access_tokens import AccessTokens
from writ_gateway.http.introspection import AT_ONCE, BURST, KEPT_SECONDS, IntrospectedTokens, IntrospectionEndpoint
from writ_gateway.http.issuers import Issuer
from writ_gateway.http.key_sets import COOLDOWN_SECONDS, FRESH_SECONDS, FetchedKeys
from writ_gateway.http.key_sets import KEPT_SECONDS as KEYS_KEPT

JWK = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())), "kid": "k1", "alg": "ES256", "use": "sig"}


class Server:
    """An authorization server: `/jwks`, `/introspect`, and `/moved`, which redirects."""

    def __init__(self) -> None:
        self.active: dict[str, Any] = {}
        self.requests: list[tuple[str, str]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.path, ""))
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("Location", "/jwks")
                    self.end_headers()
                else:
                    self._reply({"keys": [JWK]})

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                server.requests.append((self.path, self.headers["Authorization"]))
                self._reply(server.active.get(form["token"][0], {"active": False}))

            def _reply(self, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None: ...

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def issuer(**more: Any) -> Issuer:
    return Issuer(issuer=ISSUER, audience=URL, claim="writ_principal", principals=("bot",), **more)


async def test_an_unknown_kid_has_the_keys_fetched_once_in_a_cooldown(server: Server) -> None:
    clock = Clock()
    keys = FetchedKeys(f"{server.url}/jwks", clock=clock)
    assert await keys.key("k1") is not None
    for invented in range(50):
        assert await keys.key(f"invented-{invented}") is None
    assert len(server.requests) == 1
    clock.now += COOLDOWN_SECONDS
    assert await keys.key("invented") is None
    assert await keys.key("invented") is None
    assert len(server.requests) == 2
    clock.now += FRESH_SECONDS
    assert await keys.key("k1") is not None
    assert len(server.requests) == 3


async def test_keys_that_cannot_be_fetched_again_count_for_a_while(server: Server) -> None:
    clock, url = Clock(), f"{server.url}/jwks"
    answers = [{"keys": [JWK]}]

    async def fetch(address: str) -> Any:
        if not answers:
            raise Unreachable(address)
        return answers.pop()

    keys = FetchedKeys(url, fetch, clock)
    assert await keys.key("k1") is not None
    clock.now += FRESH_SECONDS
    assert await keys.key("k1") is not None
    clock.now += KEYS_KEPT
    with pytest.raises(Unreachable):
        await keys.key("k1")


@pytest.mark.parametrize("answer", [None, [], {}, {"keys": 7}, {"keys": [{"kty": "EC"}]}, "x"])
async def test_malformed_key_set_gives_no_key(answer: Any) -> None:
    async def fetch(_: str) -> Any:
        return answer

    with pytest.raises(Unreachable):
        await FetchedKeys("https://x", fetch).key("k1")


async def test_a_redirect_is_not_followed_and_an_address_is_https_or_on_loopback(server: Server) -> None:
    with pytest.raises(Unreachable, match="302"):
        await json_fetch.get(f"{server.url}/moved")
    assert [path for path, _ in server.requests] == ["/moved"]
    assert json_fetch.is_safe("https://login.example/jwks")
    assert not json_fetch.is_safe("http://login.example/jwks")
    assert not json_fetch.is_safe("file:///etc/passwd")


def introspector(server: Server) -> IntrospectionEndpoint:
    return IntrospectionEndpoint(address=f"{server.url}/introspect", client="writ gateway", secret="s:e/c")


async def test_an_opaque_token_counts_while_the_server_says_that_it_is_active(server: Server) -> None:
    clock = Clock()
    tokens = AccessTokens(issuer(), introspection=IntrospectedTokens(introspector(server), clock=clock))
    server.active["opaque"] = {"active": True, **claims()}
    found = await tokens.claims("opaque")
    assert found is not None
    assert tokens.principal(found) == "bot"
    assert await tokens.claims("other") is None
    basic = base64.b64encode(b"writ+gateway:s%3Ae%2Fc").decode()
    assert server.requests[0] == ("/introspect", f"Basic {basic}")
    server.active["opaque"] = {"active": False}
    assert await tokens.claims("opaque") is not None  # by the reply of a moment ago
    clock.now += KEPT_SECONDS
    assert await tokens.claims("opaque") is None


@pytest.mark.parametrize(
    "wrong",
    [{"aud": "https://other.example"}, {"aud": None}, {"iss": "https://evil.example"}, {"exp": time.time() - 99}],
)
async def test_an_active_token_for_somebody_else_does_not_count(server: Server, wrong: dict[str, Any]) -> None:
    server.active["opaque"] = {"active": True, **claims(**wrong)}
    assert await AccessTokens(issuer(introspector=introspector(server))).claims("opaque") is None


async def test_a_signed_token_that_was_revoked_does_not_count(server: Server) -> None:
    tokens = AccessTokens(issuer(jwks=f"{server.url}/jwks", introspector=introspector(server)))
    good, revoked = signed(claims(jti="1")), signed(claims(jti="2"))
    server.active[good] = {"active": True, **claims()}
    assert await tokens.claims(good) is not None
    assert await tokens.claims(revoked) is None
    assert await tokens.claims("opaque") is None


async def test_invented_tokens_do_not_become_a_flood_at_the_server() -> None:
    requests = 0

    async def ask(*_: Any) -> Any:
        nonlocal requests
        requests += 1
        return {"active": False}

    at = IntrospectionEndpoint(address="https://x", client="c", secret="s")
    introspection = IntrospectedTokens(at, ask, Clock())
    for number in range(int(BURST)):
        assert await introspection.claims(f"invented-{number}") is None
    with pytest.raises(Unreachable):
        await introspection.claims("one more")
    assert requests == BURST


async def test_invented_tokens_keep_no_token_out_that_was_active(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(_: str, form: Mapping[str, str], *__: Any) -> Any:
        return {"active": form["token"] == "good"}

    monkeypatch.setattr("writ_gateway.http.introspection.MOST_KEPT", 10)
    clock, at = Clock(), IntrospectionEndpoint(address="https://x", client="c", secret="s")
    introspection = IntrospectedTokens(at, ask, clock)
    assert await introspection.claims("good") is not None
    clock.now += KEPT_SECONDS
    for number in range(int(BURST)):
        await introspection.claims(f"invented-{number}")
    with pytest.raises(Unreachable):
        await introspection.claims("one more")
    assert await introspection.claims("good") is not None


async def test_questions_about_invented_tokens_hold_up_none_about_a_token_that_was_active() -> None:
    over, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def ask(_: str, form: Mapping[str, str], *__: Any) -> Any:
        asked.release()
        if form["token"] != "good":
            await over.wait()
        return {"active": form["token"] == "good"}

    clock, at = Clock(), IntrospectionEndpoint(address="https://x", client="c", secret="s")
    introspection = IntrospectedTokens(at, ask, clock)
    assert await introspection.claims("good") is not None
    clock.now += KEPT_SECONDS
    invented = [asyncio.create_task(introspection.claims(f"invented-{number}")) for number in range(AT_ONCE)]
    try:
        async with asyncio.timeout(20):
            for _ in range(1 + AT_ONCE):
                await asked.acquire()
            assert await introspection.claims("good") is not None
    finally:
        over.set()
        assert await asyncio.gather(*invented) == [None] * AT_ONCE


async def test_requests_that_come_together_with_one_token_are_one_question_at_the_server() -> None:
    requests = 0

    async def ask(*_: Any) -> Any:
        nonlocal requests
        requests += 1
        await asyncio.sleep(0)
        if requests == 1:
            raise Unreachable("the authorization server is away")
        return {"active": True}

    introspection = IntrospectedTokens(IntrospectionEndpoint(address="https://x", client="c", secret="s"), ask, Clock())
    many = 2 * int(BURST)
    failed = await asyncio.gather(*(introspection.claims("opaque") for _ in range(many)), return_exceptions=True)
    assert {type(one) for one in failed} == {Unreachable}
    assert requests == 1
    found = await asyncio.gather(*(introspection.claims("opaque") for _ in range(many)))
    assert found == [{"active": True}] * many
    assert requests == 2
