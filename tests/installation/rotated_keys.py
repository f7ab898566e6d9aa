"""An installation with a pool and the link of a site, and what its files say of their keys."""

import asyncio
from pathlib import Path

from click.testing import CliRunner

from writ_cli.main import cli
from writ_documents.readers import read_agents
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home, host_token
from writ_installation.nats.leaf_sites import NewSite, add_site, read_leaves

AGENT = f"agent-local-{host_token()}"
LINK = AGENT.replace("agent-", "leaf-depot-", 1)
DEPOT = NewSite(name="depot", pools=[AGENT.removeprefix("agent-")], hub=["nats://127.0.0.1"])


def create(folder: Path) -> Home:
    made = Home(folder)
    create_installation(made)
    add_site(made, DEPOT, "127.0.0.1")
    return made


async def keys(home: Home, *words: str) -> tuple[int, str]:
    """Run `writ keys`; return its exit status and all that it printed."""
    made = await asyncio.to_thread(CliRunner().invoke, cli, ["keys", *words, "--home", str(home.root)])
    return made.exit_code, made.output


def states(home: Home, name: str) -> list[tuple[str, str]]:
    return [(one.key, one.state) for one in home.keyring().of(name)]


def listed(home: Home, name: str) -> list[str]:
    """Return the keys of the file that lists them."""
    if name == AGENT:
        return [agent.key for agent in read_agents(home.agents).agents]
    return [leaf.key for leaf in read_leaves(home.leaves).leaves]  # type: ignore[union-attr]
