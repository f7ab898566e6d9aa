"""The client sends a request with a large text as MessagePack, and reads the reply."""

import pytest
from tests.client.conftest import KEY
from tests.client.scripted_api import ScriptedApi

from writ_client.client import Writ
from writ_client.queries.service_calls import _encoded
from writ_contracts import errors
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import Failure, Request, RequestStatement
from writ_contracts.wire import JSON, MSGPACK, decode, encode
from writ_trust.digests import keyed_digest
from writ_trust.statements import open_signed


@pytest.mark.parametrize("sign", [True, False])
async def test_request_with_a_large_text_is_sent_as_messagepack(writ: Writ, executor: ScriptedApi, sign: bool) -> None:
    parameters = {"file_path": "/srv/f", "content": '"line"\n\u00e9' * LARGE}
    small, large = {**parameters, "content": "x"}, parameters
    for one in (small, large):
        await writ.submit("file_write", "a", one, sign=sign, reason="why")
    assert executor.content_types == [JSON, MSGPACK]
    assert [request.parameters for _, request in executor.requests] == [small, large]
    request = executor.requests[-1][1]
    assert (request.statement is not None) == sign
    if request.statement is not None:
        statement = open_signed(request.statement, RequestStatement, {KEY.public}, "")
        assert statement.parameters_digest == keyed_digest(request.salt or "", parameters)


async def test_refusal_of_a_large_request_is_read(writ: Writ, executor: ScriptedApi) -> None:
    executor.script.append(Failure(code="unknown_target", message="there is no \u00e9"))
    with pytest.raises(errors.Invalid, match="there is no \u00e9"):
        await writ.submit("file_write", "a", {"file_path": "/srv/f", "content": "x" * LARGE})
    assert executor.content_types == [MSGPACK]


def test_number_beyond_64_bits_is_sent_as_json_for_the_service_to_refuse() -> None:
    parameters = {"file_path": "/srv/f", "content": "x" * LARGE, "mode": 2**70}
    request = Request(target="a", parameters=parameters)
    data, headers = _encoded(request)
    assert (data, headers) == (encode(request), None)
    with pytest.raises(errors.Invalid, match="more than 64 bits"):
        decode(data, Request, content_type=JSON)
