"""The unit of the local agent grants exactly the capabilities that docs/security.md explains."""

import re

import pytest
import yaml
from tests.architecture.tree import ROOT

SYSTEMD = ROOT / "deploy" / "systemd"
LOCAL = SYSTEMD / "writ-agent-local@.service"
SETTING = re.compile(r"^(CapabilityBoundingSet|AmbientCapabilities)=(.*)$", re.MULTILINE)


def granted(unit: str) -> set[str]:
    """Return the bounding set of a unit. A list that begins with `~` would grant all others, also future ones."""
    found = set[str]()
    for setting, names in SETTING.findall(unit):
        assert setting == "CapabilityBoundingSet" or not names, "ambient capabilities outlive a change of user"
        assert not names.startswith("~"), names
        found |= set(names.split())
    return found


def documented() -> list[str]:
    section = (ROOT / "docs/security.md").read_text().partition("## Capabilities of the local agent")[2]
    rows = [line.split("|")[1] for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `CAP_")]
    return re.findall(r"CAP_[A-Z_]+", " ".join(rows))


def test_the_unit_of_the_local_agent_grants_the_documented_capabilities_and_no_other() -> None:
    assert granted(LOCAL.read_text()) == set(documented())
    assert len(documented()) == len(set(documented()))


@pytest.mark.parametrize("name", ["CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_BPF", "CAP_SYS_BOOT"])
def test_capabilities_over_the_kernel_or_other_processes_are_not_granted(name: str) -> None:
    assert name not in granted(LOCAL.read_text())


@pytest.mark.parametrize("unit", sorted(set(SYSTEMD.glob("*.service")) - {LOCAL}), ids=lambda path: path.name)
def test_no_other_unit_grants_a_capability(unit: object) -> None:
    text = (SYSTEMD / str(unit)).read_text()
    assert "\nCapabilityBoundingSet=\n" in text
    assert granted(text) == set()


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/docker-socket.yaml", "deploy/traces.yaml"])
def test_no_container_gets_a_capability(file: str) -> None:
    services = yaml.safe_load((ROOT / file).read_text())["services"]
    assert not [name for name, one in services.items() if "cap_add" in one or one.get("privileged")]
    if file != "deploy/docker-socket.yaml":  # it adds to the service of docker-compose.yml
        assert all(one["cap_drop"] == ["ALL"] for one in services.values())


def test_no_image_of_a_registry_gets_the_keys_of_a_service_by_its_name() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    ours = {name: one.get("pull_policy") for name, one in services.items() if one["image"].startswith("writ/")}
    assert {"writ", "nats", "nats-2", "policy", "gateway"} <= set(ours)
    assert [name for name, policy in ours.items() if policy != "never"] == []
