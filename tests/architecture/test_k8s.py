"""deploy/k8s agrees with the code: known settings, pods without rights, and KEDA's own format."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.generate.metrics_table import registries
from tests.architecture.tree import ROOT

from writ_agent_ssh.config import SshAgentConfig
from writ_bus.private_files import read_private
from writ_runtime.config import describe, load
from writ_trust.keys import Key, generate_seed

FILE = ROOT / "deploy/k8s/agent-ssh.yaml"
DEPLOYMENT, SCALED = list(yaml.safe_load_all(FILE.read_text()))
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
[AGENT] = POD["containers"]
[KEYS] = POD["initContainers"]
ENVIRON = {one["name"]: one["value"] for one in AGENT["env"]}

NUMBERS = {"minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod"}
SECTIONS = {
    "scaleTargetRef": {"name", "kind", "apiVersion", "envSourceContainerName"},
    "fallback": {"failureThreshold", "replicas", "behavior"},
}
"""Of keda.sh/v1alpha1, as far as it is used here."""
TRIGGER = {"type", "name", "metadata", "metricType", "useCachedMetrics", "authenticationRef"}
PROMETHEUS = {"serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues", "namespace", "timeout"}


def test_the_deployment_is_one_of_the_image_and_finds_its_own_pods() -> None:
    assert (DEPLOYMENT["apiVersion"], DEPLOYMENT["kind"]) == ("apps/v1", "Deployment")
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert AGENT["image"] == KEYS["image"]
    assert "/writ/agent-ssh:" in AGENT["image"]


def test_the_agent_takes_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ENVIRON) <= {one.name for one in describe(SshAgentConfig)}
    config = load(SshAgentConfig, ENVIRON)
    assert config.pool == "ssh"
    assert config.stop_grace + config.kill_grace + 10 <= POD["terminationGracePeriodSeconds"]
    assert [port["containerPort"] for port in AGENT["ports"]] == [config.health_port]
    assert config.health_host == "0.0.0.0"


def test_nothing_is_privileged_or_writable_that_need_not_be() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] > 0
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (AGENT, KEYS):
        locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == locked
        assert container["resources"]["limits"]["memory"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(POD)
    assert not any("hostPath" in volume for volume in POD["volumes"])


def test_kubernetes_probes_use_paths_of_the_health_server() -> None:
    paths = {name: AGENT[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_mounts_exist_and_paths_in_variables_are_mounted() -> None:
    volumes = {volume["name"] for volume in POD["volumes"]}
    for container in (AGENT, KEYS):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    folders = {mount["mountPath"] for mount in AGENT["volumeMounts"]}
    paths = [Path(value) for value in ENVIRON.values() if value.startswith("/")]
    assert all(any(path.is_relative_to(folder) for folder in folders) for path in paths)


def test_keys_that_a_group_may_read_become_private_ones(tmp_path: Path) -> None:
    for secret, name in (("agent", "agent.seed"), ("ssh", "web-1")):
        kept = tmp_path / "secrets" / secret / "..data"
        kept.mkdir(parents=True)
        (kept / name).write_bytes(generate_seed())
        (kept / name).chmod(0o440)
        (kept.parent / name).symlink_to(kept / name)  # as the kubelet does
    (tmp_path / "keys").mkdir()
    shell, option, script = KEYS["command"]
    for folder in ("/secrets", "/keys"):
        script = script.replace(folder, str(tmp_path) + folder)
    subprocess.run([shell, option, script], check=True, timeout=60)
    for variable, name in (("WRIT_KEY_FILE", ""), ("WRIT_SSH_KEYS", "web-1")):
        path = Path(f"{tmp_path}{ENVIRON[variable]}") / name
        assert Key(read_private(path)).public.startswith("U")


def test_keda_gets_a_valid_scaled_object() -> None:
    assert (SCALED["apiVersion"], SCALED["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = SCALED["spec"]
    assert set(spec) <= {*NUMBERS, *SECTIONS, "triggers"}
    assert all(isinstance(spec[name], int) for name in NUMBERS & set(spec))
    assert all(set(spec[name]) <= known for name, known in SECTIONS.items() if name in spec)
    assert spec["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    [trigger] = spec["triggers"]
    assert set(trigger) <= TRIGGER
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert {"serverAddress", "query", "threshold"} <= set(trigger["metadata"]) <= PROMETHEUS
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert "replicas" not in DEPLOYMENT["spec"]  # or each `kubectl apply` would undo what KEDA did


def test_scaling_uses_the_executors_metrics_of_the_agents_pool() -> None:
    metadata = SCALED["spec"]["triggers"][0]["metadata"]
    metric_names = {one.name for one in registries()["executor"].families}
    assert set(re.findall(r"writ_\w+", metadata["query"])) == {"writ_pool_operations"} <= metric_names
    assert f'pool="{ENVIRON["WRIT_POOL"]}"' in metadata["query"]
    assert 0 < float(metadata["threshold"]) <= float(ENVIRON["WRIT_SLOTS"])
