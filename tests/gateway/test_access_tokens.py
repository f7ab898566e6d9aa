"""Access tokens of an authorization server: conditions on a JWT, and the error that a client gets otherwise."""

import base64
import hmac
import json
import logging
import time
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.gateway.conftest import everybody

from writ_gateway.http.asgi import Receive, Scope, Send
from writ_gateway.http.bearer import IDENTITY, BearerAuthentication
from writ_gateway.http.issuers import Issuer
from writ_gateway.http.tokens import Tokens

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
URL = "https://writ.example/mcp"
ISSUER = "https://login.example"


def claims(**other: Any) -> dict[str, Any]:
    good = {"iss": ISSUER, "aud": URL, "sub": "client-1", "exp": time.time() + 60, "scope": "openid writ"}
    return {name: value for name, value in {**good, "writ_principal": "bot", **other}.items() if value is not None}


def signed(found: dict[str, Any], key: Any = KEY, algorithm: str = "ES256", kid: str = "k1") -> str:
    return jwt.encode(found, key, algorithm=algorithm, headers={"kid": kid})


def by_shared_secret(secret: bytes) -> str:
    """Return a token that a library with any algorithm would verify by the public key (PyJWT itself makes none)."""
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims()]
    signing_input = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    mac = base64.urlsafe_b64encode(hmac.digest(secret, signing_input, "sha256")).rstrip(b"=")
    return f"{signing_input.decode()}.{mac.decode()}"


@pytest.fixture
def client(tmp_path: Path) -> httpx2.AsyncClient:
    """Return a client of a gateway with one endpoint, which names the principal."""
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps({"keys": [{**public, "kid": "k1", "alg": "ES256", "use": "sig"}]}))
    issuer = Issuer(issuer=ISSUER, audience=URL, jwks=str(keys), claim="writ_principal", principals=("bot",))

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope[IDENTITY].principal.encode()})

    application = BearerAuthentication(inner, Tokens(tmp_path / "none.json"), everybody(tmp_path, "bot"), issuer)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url="https://writ.example")


async def status(client: httpx2.AsyncClient, token: str) -> int:
    return (await client.post("/mcp", headers={"Authorization": f"Bearer {token}"})).status_code


async def test_valid_token_authenticates_its_principal(client: httpx2.AsyncClient) -> None:
    for found in (claims(), claims(aud=["other", URL]), claims(scope=["writ"])):
        reply = await client.post("/mcp", headers={"Authorization": f"Bearer {signed(found)}"})
        assert (reply.status_code, reply.text) == (200, "bot")


WRONG: dict[str, dict[str, Any]] = {
    "audience": {"aud": "https://other.example/mcp"},
    "no audience": {"aud": None},
    "issuer": {"iss": "https://evil.example"},
    "expired": {"exp": time.time() - 120},
    "no end": {"exp": None},
    "not yet": {"nbf": time.time() + 86_400},
    "no subject": {"sub": None},
    "a principal that is not served": {"writ_principal": "alice"},
    "no principal": {"writ_principal": None},
    "a principal that is no text": {"writ_principal": ["bot"]},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_token_with_a_wrong_claim_is_401(client: httpx2.AsyncClient, wrong: str) -> None:
    assert await status(client, signed(claims(**WRONG[wrong]))) == 401


async def test_the_signature_has_to_be_of_a_published_key_by_an_asymmetric_algorithm(
    client: httpx2.AsyncClient,
) -> None:
    good = signed(claims())
    unsigned = jwt.encode(claims(), "", algorithm="none", headers={"kid": "k1"})
    public = json.dumps(json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())))
    shared = by_shared_secret(public.encode())
    rs256 = signed(claims(), rsa.generate_private_key(65537, 2048), "RS256")
    header, body, _ = good.split(".")
    forged = f"{header}.{body}.{signed(claims(), OTHER).split('.')[2]}"
    for token in (
        signed(claims(), OTHER),
        signed(claims(), kid="k2"),
        unsigned,
        shared,
        rs256,
        forged,
        good + "x",
        "a.b.c",
    ):
        assert await status(client, token) == 401


async def test_a_missing_scope_is_403_and_both_name_the_metadata(client: httpx2.AsyncClient) -> None:
    where = 'resource_metadata="https://writ.example/.well-known/oauth-protected-resource/mcp"'
    for token, code, error in (
        (signed(claims(scope="openid")), 403, "insufficient_scope"),
        ("x", 401, "invalid_token"),
    ):
        reply = await client.post("/mcp", headers={"Authorization": f"Bearer {token}"})
        challenge = reply.headers["www-authenticate"]
        assert reply.status_code == code
        assert f'error="{error}"' in challenge
        assert 'scope="writ"' in challenge
        assert where in challenge
    metadata = (await client.get("/.well-known/oauth-protected-resource/mcp")).json()
    assert (metadata["resource"], metadata["authorization_servers"]) == (URL, [ISSUER])


async def test_first_request_of_a_client_without_a_token_is_no_warning(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """By the protocol of MCP: the reply of status 401 names the authorization server."""
    with caplog.at_level(logging.INFO, "writ.gateway"):
        assert (await client.post("/mcp")).status_code == 401
        assert await status(client, "of-nobody") == 401
        assert (await client.post("/mcp", headers={"Authorization": "Basic Ym90OmJvdA=="})).status_code == 401
    noted = [record for record in caplog.records if record.getMessage() == "gateway.unauthenticated"]
    assert [record.levelname for record in noted] == ["INFO", "WARNING"]
