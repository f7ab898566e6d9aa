"""Resources and prompts of the gateway, and `writ mcp config`."""

import json
import re
import tomllib
from types import SimpleNamespace
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.types import TextContent, TextResourceContents
from tests.gateway.conftest import call, command, serving

from writ_gateway import resources
from writ_gateway.session import ToolCall
from writ_gateway.tool import Profile
from writ_gateway.toolbox import Toolbox
from writ_gateway.untrusted_text import MOST_CHARACTERS
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def read(client: Client, uri: str) -> dict[str, Any]:
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    found: dict[str, Any] = json.loads(contents.text)
    return found


async def test_resources_are_listed_and_are_what_the_tools_return(installation: RunningInstallation) -> None:
    async with serving(installation, mode="legacy") as client:
        assert [one.uri for one in (await client.list_resources()).resources] == [
            "writ://operations",
            "writ://targets",
        ]
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.uri_template for one in templates] == [
            "writ://operations/{operation_type}",
            "writ://trace/{operation_id}",
        ]
        assert await read(client, "writ://targets") == await call(client, "list_targets")
        assert (await read(client, "writ://operations/file_read"))["risk"] == "read"
        done = await call(client, "read", operation_type="test_noop", target_id="web-1")
        assert (await read(client, f"writ://trace/{done['operation_id']}"))["events"]


async def test_the_policy_is_a_resource_for_those_who_may_read_it(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource("writ://policy")
        assert refused.value.data["code"] == "no_rule"
    async with serving(installation, principal="carol") as client:
        assert "writ://policy" in [one.uri for one in (await client.list_resources()).resources]
        assert (await read(client, "writ://policy"))["document"] == installation.home.policy.read_text()


@pytest.mark.parametrize("uri", ["writ://nothing", "file:///etc/passwd", "writ://trace/a/../b", "writ://operations/"])
async def test_unknown_resource_uri_is_refused(installation: RunningInstallation, uri: str) -> None:
    async with serving(installation) as client:
        with pytest.raises(MCPError, match="there is no resource"):
            await client.read_resource(uri)


@pytest.mark.parametrize(
    ("principal", "profile", "read_only"),
    [("bot", "full", False), ("bot", "small", True), ("visitor", "full", False), ("visitor", "small", False)],
)
async def test_instructions_descriptions_and_prompts_name_only_tools_that_are_listed(
    installation: RunningInstallation, principal: str, profile: Profile, read_only: bool
) -> None:
    every = {tool.name for tool in Toolbox(load_catalogue(), "full")}
    async with serving(installation, profile, principal=principal, read_only=read_only) as client:
        listed = (await client.list_tools()).tools
        texts = [client.instructions or "", *(tool.description or "" for tool in listed)]
        prompts = {prompt.name: await text_of(client, prompt.name) for prompt in (await client.list_prompts()).prompts}
    tools = {tool.name for tool in listed}
    assert texts[0]
    assert words("\n".join([*texts, *prompts.values()])) & every <= tools
    assert ("request_a_change" in prompts) == ("request_operation" in tools)
    assert {"understand_a_denial", "wait_for_an_approval", "propose_a_policy_change"} <= set(prompts)


async def test_prompts_name_only_tools_and_fields_that_exist(installation: RunningInstallation) -> None:
    every = {tool.name for tool in Toolbox(load_catalogue(), "full")}
    async with serving(installation, "full") as client:
        for prompt in (await client.list_prompts()).prompts:
            assert words(await text_of(client, prompt.name)) - every - FIELDS == set(), prompt.name
        with pytest.raises(MCPError, match="there is no prompt"):
            await client.get_prompt("nothing")


async def text_of(client: Client, prompt: str) -> str:
    (message,) = (await client.get_prompt(prompt)).messages
    assert isinstance(message.content, TextContent)
    return message.content.text


def words(text: str) -> set[str]:
    """Return the words with an underscore, as most names of tools and all of fields have one."""
    return set(re.findall(r"[a-z]+(?:_[a-z]+)+", text))


FIELDS = {
    "idempotency_key",
    "operation_id",
    "policy_evaluation",
    "awaiting_approval",
    "target_roles",
    "principal_kinds",
    "parameter_constraints",
}


@pytest.mark.parametrize("client", ["claude", "codex", "cursor", "gemini", "vscode", "windsurf"])
async def test_config_is_what_the_client_reads(installation: RunningInstallation, client: str) -> None:
    ended = await installation.writ("mcp", "config", "--client", client, "--as", "bot", "--read-only")
    assert ended.status == 0, ended
    config = tomllib.loads(ended.out) if client == "codex" else json.loads(ended.out)
    (section,) = config
    server = config[section]["writ"]
    assert server["args"] == ["mcp", "stdio", "--as", "bot", "--profile", "small", "--read-only"]
    assert server["env"] == {"WRIT_HOME": str(installation.home.root)}
    assert "belongs in" in ended.err
    assert "is a human" not in ended.err


async def test_config_takes_the_client_without_its_option(installation: RunningInstallation) -> None:
    named = await installation.writ("mcp", "config", "claude", "--as", "bot")
    assert named.out == (await installation.writ("mcp", "config", "--client", "claude", "--as", "bot")).out
    for words in ((), ("claude", "--client", "codex")):
        ended = await installation.writ("mcp", "config", *words, "--as", "bot")
        assert (ended.status, "name one client: claude, codex" in ended.err) == (2, True), ended


async def test_config_for_a_misspelt_principal_is_refused_with_the_nearest(installation: RunningInstallation) -> None:
    ended = await installation.writ("mcp", "config", "--client", "claude", "--as", "bott")
    assert (ended.status, ended.out) == (2, "")
    assert "there is no principal 'bott'" in ended.err
    assert "did you mean 'bot'?" in ended.err


async def test_config_warns_of_a_principal_that_is_a_person(installation: RunningInstallation) -> None:
    ended = await installation.writ("mcp", "config", "--client", "claude", "--as", "operator")
    assert (ended.status, json.loads(ended.out)["mcpServers"]["writ"]["args"][3]) == (0, "operator")
    assert "operator is a human" in ended.err
    assert "writ principal add NAME --kind agent" in ended.err


async def test_printed_configuration_starts_a_server(installation: RunningInstallation) -> None:
    config = json.loads((await installation.writ("mcp", "config", "--client", "claude", "--as", "bot")).out)
    server = config["mcpServers"]["writ"]
    environ = {**(command(installation).env or {}), **server["env"]}
    started = StdioServerParameters(command=server["command"], args=server["args"], env=environ)
    async with Client(started, cache=None) as client:
        assert (await client.list_tools()).tools


async def test_a_long_policy_is_cut_and_named_as_such() -> None:
    """A model reads no policy of a megabyte."""

    class Shown:
        version = None
        document = "x" * 1_000_000

    class Reader:
        async def policy_show(self) -> Shown:
            return Shown()

    session: Any = SimpleNamespace(writ=Reader())
    found = await resources.read(ToolCall(session, lambda _: None), resources.POLICY)
    assert len(found["document"]) <= MOST_CHARACTERS
    assert found["cut"] == ["document"]
