"""Builds of plugins in agents: policy's own or a listed one, or else no grant."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.policy.replica import LOOK_KEY, Asking, files, replica
from tests.rules.asking import CATALOGUE

from writ_contracts.decisions import Decision, ReadGrant
from writ_contracts.errors import ConfigError
from writ_contracts.operations import Catalogue
from writ_contracts.plugins import InstalledPlugin, Plugin, digest_problem
from writ_policy.decisions.agent_plugins import agent_plugins
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.statements import read

OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
ACME = InstalledPlugin(
    name="writ-acme",
    version="2.0",
    digest=NEW,
    plugin=Plugin(api=1, prefixes=("service",)),
    parts={"writ.operations": ["acme"]},
)
RULER = structs.replace(ACME, name="writ-ruler", digest=OTHER, parts={"writ.evaluators": ["service_share"]})
FILE = {"file_path": "/srv/x", "content": "x"}
BUILDS = Catalogue(CATALOGUE.values(), plugins=(ACME, RULER))


@pytest.fixture
async def upgrading(tmp_path: Path) -> AsyncIterator[Asking]:
    """Yield a policy with the new build, which accepts the old one from its agents."""
    broker = Broker()
    known = files(tmp_path)
    listed = f"writ-acme={OLD}, writ-acme-hosts={OTHER}"
    bus = MemoryBus(broker)
    async with replica(bus, MemoryBus(broker), known, catalogue=BUILDS, plugin_digests=listed) as one:
        yield one


async def test_plugins_of_policy_are_in_every_decision(upgrading: Asking) -> None:
    decision = await upgrading.decision(upgrading.subject("file_write", parameters=FILE))
    assert decision.plugins == {"writ-acme": NEW, "writ-ruler": OTHER}


@pytest.mark.parametrize(
    "agent", [{"writ-acme": NEW}, {"writ-acme": OLD}, {"writ-acme": OLD, "writ-acme-hosts": OTHER}]
)
async def test_a_claim_with_an_accepted_build_is_granted(upgrading: Asking, agent: dict[str, str]) -> None:
    subject = upgrading.subject()
    assert (await upgrading.granted(subject, upgrading.claim(subject, plugins=agent))).grant is not None


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (
            {"writ-acme": OTHER},
            f"plugin writ-acme: the agent has digest {OTHER}, policy accepts {NEW}, {OLD}. ",
        ),
        ({}, f"plugin writ-acme: the agent has no such plugin, policy accepts {NEW}, {OLD}. "),
        (
            {"writ-acme": NEW, "writ-stranger": NEW},
            f"plugin writ-stranger: the agent has digest {NEW}, policy accepts no such plugin. ",
        ),
    ],
)
async def test_a_claim_with_another_build_is_denied(upgrading: Asking, agent: dict[str, str], message: str) -> None:
    subject = upgrading.subject()
    answer = await upgrading.granted(subject, upgrading.claim(subject, plugins=agent))
    assert answer.grant is None
    assert answer.decision is not None
    decision = read(answer.decision, Decision)
    assert (decision.effect, decision.code) == ("deny", "plugin_mismatch")
    assert decision.reason.startswith(message)
    assert "WRIT_PLUGIN_DIGESTS" in decision.reason


async def test_a_claim_without_plugins_is_granted_for_other_operations(upgrading: Asking) -> None:
    upgrading.files.policy({"name": "files", "operations": ["file_write"], "allowed": True})
    subject = upgrading.subject("file_write", parameters=FILE)
    assert (await upgrading.granted(subject)).grant is not None


async def test_a_read_grant_names_the_accepted_builds(upgrading: Asking) -> None:
    decided = await upgrading.decide(upgrading.subject(), look_key=LOOK_KEY, look=["baseline"])
    assert decided.look is not None
    assert read(decided.look, ReadGrant).plugins == {"writ-acme": [NEW, OLD], "writ-acme-hosts": [OTHER]}


def test_malformed_list_of_plugin_digests_stops_the_start(tmp_path: Path) -> None:
    known = files(tmp_path)
    for wrong in ("writ-acme", "writ-acme=12ab", f"={OLD}", f"writ-acme={OLD[:-1]}\n"):
        with pytest.raises(ConfigError, match="WRIT_PLUGIN_DIGESTS needs NAME=DIGEST"):
            known.config(plugin_digests=wrong).listed_plugins()
    assert known.config().listed_plugins() == {}


def test_all_builds_are_accepted_for_a_target_test() -> None:
    builds = agent_plugins(BUILDS, {"writ-acme": [OLD, NEW]})
    assert builds.all_accepted() == {"writ-acme": [NEW, OLD], "writ-ruler": [OTHER]}
    assert builds.accepted_for("file_write", "local") == {}
    assert digest_problem({}, builds.all_accepted()) == ""
