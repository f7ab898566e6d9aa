# long: one subject, the compose file and the images
"""docker-compose.yml and the Dockerfile agree with the code: services, variables and files exist."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from docs.generate.__main__ import SERVICES
from tests.architecture.tree import ROOT, packages

from writ_cli.installation.processes.provision import ProvisionerConfig
from writ_installation.files.home import Home
from writ_installation.provisioner import folders
from writ_runtime.config import Variable, describe
from writ_testing.peers.programs import missing, program

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROMETHEUS = ROOT / "deploy" / "prometheus"
TRACES = ROOT / "deploy" / "traces.yaml"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ELSEWHERE = ("prometheus", "alertmanager", "grafana")
"""Services of others, from their public images."""
PROBE_PROGRAMS = {"prometheus": "promtool", "alertmanager": "amtool", "grafana": "wget"}
"""The health check of each of those: a program that is in its image."""
NO_SERVICE = ("init", "writ")
"""The command, for once."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that `init` makes for an installation with one server."""
    folder, umask = tmp_path_factory.mktemp("writ"), os.umask(0o077)
    folders.write_environment(folder / ".env", folders.environment(folders.init(folder / ".writ", 1)))
    os.umask(umask)
    return folder


@pytest.fixture(scope="module")
def compose(folder: Path) -> dict[str, Any]:
    """Return the file with its variables filled in, in the few forms it uses."""
    values = {"WRIT_FOLDER": str(folder)}
    for line in (folder / ".env").read_text().splitlines():
        name, _, value = line.partition("=")
        values[name] = value
    text = COMPOSE.read_text()
    text = re.sub(r"\$\{(\w+)(?::?[-?]([^}]*))?\}", lambda found: values.get(found[1], found[2] or ""), text)
    return dict(yaml.safe_load(text))


def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the services of Writ that read their settings from the environment."""
    return {
        name: service
        for name, service in compose["services"].items()
        if "SERVICE" in service.get("build", {}).get("args", {}) and name not in NO_SERVICE
    }


def variables(service: dict[str, Any]) -> list[Variable]:
    """Return the environment variables that the code of that service reads."""
    name = service["build"]["args"]["SERVICE"]
    return describe(ProvisionerConfig if name == "cli" else SERVICES["gateway.http" if name == "gateway" else name])


def mounted(service: dict[str, Any]) -> dict[str, str]:
    """Return host paths by container path; a volume has ""."""
    found = {}
    for volume in service.get("volumes", []):
        first, _, rest = volume.partition(":")
        found[rest.partition(":")[0] or first] = first if rest else ""
    return found


def test_every_service_of_the_tree_is_there(compose: dict[str, Any]) -> None:
    expected = {one.folder.name for one in packages() if one.is_service}
    built = {service["build"]["args"]["SERVICE"] for service in services(compose).values()}
    assert built == {*expected, "cli"}
    for service in services(compose).values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DOCKERFILE)


def test_every_image_that_runs_is_built_here_or_one_of_others_in_a_version(compose: dict[str, Any]) -> None:
    built = {service["image"] for service in compose["services"].values() if "build" in service}
    for name, service in compose["services"].items():
        if name in ELSEWHERE:
            assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])
        else:
            assert service["image"] in built


def test_each_service_gets_all_that_it_needs_and_nothing_that_it_does_not_know(compose: dict[str, Any]) -> None:
    for name, service in services(compose).items():
        known = variables(service)
        environment = set(service["environment"])
        assert environment <= {one.name for one in known}, name
        filled_in = {"WRIT_KEY_FILE"} if name == "keeper" else set()
        assert {one.name for one in known if one.default is None} <= environment | filled_in, name


def test_variables_for_lost_records_and_former_keys_reach_each_service_that_reads_them(compose: dict[str, Any]) -> None:
    for name, service in services(compose).items():
        expected = {one.name for one in variables(service) if one.name.endswith(("_LOST", "_FORMER_KEYS"))}
        assert expected <= set(service["environment"]), name


def test_paths_in_variables_are_mounted(compose: dict[str, Any]) -> None:
    for name, service in services(compose).items():
        there = {
            one["target"] if one["target"][0] == "/" else f"/run/secrets/{one['target']}" for one in service["secrets"]
        }
        there |= set(mounted(service)) | {one["target"] for one in service.get("configs", [])}
        for value in service["environment"].values():
            if str(value).startswith("/"):
                assert any(Path(place).is_relative_to(value) or Path(value).is_relative_to(place) for place in there), (
                    name
                )


def test_compose_gives_the_command_every_health_address(compose: dict[str, Any]) -> None:
    addresses = compose["services"]["writ"]["environment"]["WRIT_SERVICES"].split()
    always = {name: service for name, service in services(compose).items() if "profiles" not in service}
    expected = {name: service["environment"]["WRIT_HEALTH_PORT"] for name, service in always.items()}
    assert dict(word.split(":") for word in addresses) == expected


def test_grafana_reads_its_password_itself(compose: dict[str, Any]) -> None:
    """The image reads a variable that ends in __FILE and sets the variable to the file's content."""
    environment = compose["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"] == "$$__file{/run/secrets/grafana}"  # $$: of compose
    assert not [name for name in environment if name.endswith("__FILE")]


def test_every_key_file_and_folder_is_one_that_init_makes(compose: dict[str, Any], folder: Path) -> None:
    for kind in ("secrets", "configs"):
        for name, entry in compose[kind].items():
            assert Path(entry["file"]).is_file(), name
    for service in compose["services"].values():
        for place in mounted(service).values():
            if place.startswith("/"):
                assert Path(place).is_dir(), place
                assert Path(place).is_relative_to(folder)


def test_each_key_is_given_to_one_service(compose: dict[str, Any]) -> None:
    used = {
        (one["source"] if isinstance(one, dict) else one, "nats" if name.startswith("nats") else name)
        for name, service in compose["services"].items()
        for one in service.get("secrets", [])
    }
    assert sorted(source for source, _ in used) == sorted(compose["secrets"])
    assert not [
        name for name in (*ELSEWHERE, "writ") if any(who == name and source != "grafana" for source, who in used)
    ]


def test_nothing_is_privileged_and_nothing_is_open_to_the_network(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "pid", "cap_add", "devices", "group_add", "userns_mode"} & set(service)
        assert service.get("network_mode", "none") == "none"
        assert service["user"].split(":")[0] not in ("", "root")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert COMPOSE.read_text().count("user: ${WRIT_UID:-1000}:${WRIT_GID:-1000}") == 5
    assert compose["networks"]["inside"] == {"internal": True}
    for name in ("policy", "executor", "audit", "keeper", "agent-local"):
        assert compose["services"][name]["networks"] == ["inside"]


def test_services_start_in_order_and_each_has_a_health_check(compose: dict[str, Any]) -> None:
    order = {name: set(service.get("depends_on", {})) for name, service in compose["services"].items()}
    assert order["keeper"] == set(folders.SERVERS)
    assert order["policy"] == order["audit"] == {"keeper"}
    assert order["executor"] == {"policy"}
    assert order["agent-local"] == order["agent-ssh"] == {"executor"}
    for name, service in compose["services"].items():
        if name not in NO_SERVICE:
            assert service["healthcheck"]["test"][:2] == ["CMD", PROBE_PROGRAMS.get(name, "healthy")], name
        for condition in service.get("depends_on", {}).values():
            assert condition["condition"] == "service_healthy"


def test_logs_of_every_container_are_bounded(compose: dict[str, Any]) -> None:
    """Docker's default keeps all lines; with `max-size` drivers such as journald would refuse to start a container."""
    for name, service in compose["services"].items():
        assert service["logging"] == {"driver": "local"}, name


def test_documented_upgrade_replaces_executors_before_policy_and_waits_for_each(compose: dict[str, Any]) -> None:
    text = (ROOT / "docs/operating/start-and-stop.md").read_text().partition("\n## Upgrade\n")[2]
    (row,) = re.findall(r"^\| containers \|.*\| (.*) \|$", text.partition("\n### ")[0], re.MULTILINE)
    commands = re.findall(r"`docker compose up -d ([^`]*)`", row)
    assert commands == ["--wait keeper", "--no-deps --wait executor", "--wait"]
    assert "policy" in compose["services"]["executor"]["depends_on"]  # Compose would replace it first
    assert row.index("executor") < row.index("`policy`") < row.index("`audit`") < row.index("-d --wait`")


def test_the_docker_agent_has_no_socket_unless_a_file_of_its_own_adds_it(compose: dict[str, Any]) -> None:
    agent = compose["services"]["agent-docker"]
    assert agent["profiles"] == ["docker"]
    assert "docker.sock" not in str(compose)
    added = yaml.safe_load((ROOT / "deploy/docker-socket.yaml").read_text())
    assert list(added) == ["services"]
    assert list(added["services"]) == ["agent-docker"]
    assert set(added["services"]["agent-docker"]) == {"group_add", "volumes"}


def test_the_socket_of_the_engine_stays_by_lines_of_the_environment(compose: dict[str, Any]) -> None:
    """Options of one `docker compose up` would be missing at the next, such as that of an upgrade."""
    text = (ROOT / "deploy/docker-socket.yaml").read_text()
    lines = dict(re.findall(r"^#   (\w+)=(.*)$", text, re.MULTILINE))
    assert [(ROOT / path).is_file() for path in lines["COMPOSE_FILE"].split(":")] == [True, True]
    assert compose["services"]["agent-docker"]["profiles"] == [lines["COMPOSE_PROFILES"]]
    assert set(re.findall(r"\$\{(\w+):\?", text)) <= set(lines)
    assert "docker compose -f" not in text


@pytest.mark.parametrize("name", ["docker-socket.yaml", "traces.yaml"])
def test_an_override_is_named_where_compose_would_not_read_it(name: str) -> None:
    """Where COMPOSE_FILE is set, compose reads docker-compose.override.yml only by its name."""
    head = (ROOT / "deploy" / name).read_text().partition("services:")[0]
    assert "append `:docker-compose.override.yml` to the first" in head


def test_the_command_finds_files_by_the_names_that_they_have_on_this_machine(compose: dict[str, Any]) -> None:
    """Such as those of `writ target add … --key FILE`, which the working folder has."""
    command = compose["services"]["writ"]
    (volume,) = command["volumes"]
    assert (volume["target"] if isinstance(volume, dict) else volume.rpartition(":")[2]) == command["working_dir"]
    assert command["environment"]["WRIT_HOME"] == ".writ"


def test_a_cluster_is_a_profile_of_three_servers(compose: dict[str, Any]) -> None:
    there = [name for name, service in compose["services"].items() if service["image"] == "writ/nats"]
    assert tuple(there) == folders.SERVERS
    assert [compose["services"][name].get("profiles") for name in there] == [None, ["cluster"], ["cluster"]]


def test_prometheus_looks_for_every_service_where_it_answers(compose: dict[str, Any]) -> None:
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == set(services(compose))
    for service in services(compose).values():
        assert service["environment"]["WRIT_HEALTH_PORT"] == str(found["port"])
        assert service["environment"]["WRIT_HEALTH_HOST"] == "0.0.0.0"


@pytest.mark.parametrize(
    ("checker", "file"),
    [(("promtool", "check", "config"), "prometheus.yaml"), (("amtool", "check-config"), "alertmanager.yaml")],
)
def test_prometheus_and_alertmanager_accept_their_options(checker: tuple[str, ...], file: str) -> None:
    command = [program(checker[0]), *checker[1:], str(PROMETHEUS / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_process_sends_spans_where_one_variable_says_and_none_without_it(compose: dict[str, Any]) -> None:
    assert COMPOSE.read_text().count(f"{ENDPOINT}: ${{{ENDPOINT}:-}}") == 3
    for name, service in {**services(compose), "writ": compose["services"]["writ"]}.items():
        assert service["environment"][ENDPOINT] is None, name
        if "build" in service:
            assert service["build"]["args"]["EXTRAS"] == "otlp"
    assert 'MORE="" EXTRAS=otlp' in DOCKERFILE.read_text()


def test_the_example_of_a_collector_is_where_its_lines_for_the_environment_say(compose: dict[str, Any]) -> None:
    environment = dict(re.findall(r"^#   (\w+)=(.*)$", TRACES.read_text(), re.MULTILINE))
    assert [(ROOT / path).is_file() for path in environment["COMPOSE_FILE"].split(":")] == [True, True]
    added = yaml.safe_load(TRACES.read_text())["services"]
    collector = added[urlsplit(environment[ENDPOINT]).hostname]
    assert not set(added) & set(compose["services"])
    assert "inside" in collector["networks"]
    assert (collector["read_only"], collector["cap_drop"]) == (True, ["ALL"])
    assert all(port.startswith("127.0.0.1:") for port in collector["ports"])


def test_the_image_is_made_from_one_public_name_and_runs_as_nobody() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    assert [line for line in lines if line.startswith("ARG PYTHON=")] == ["ARG PYTHON=python:3.13-slim-trixie"]
    stages = {line.split()[3] for line in lines if line.startswith("FROM ") and " AS " in line}
    assert {line.split()[1] for line in lines if line.startswith("FROM ")} <= {"${PYTHON}", "${BUILDER}", *stages}
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]


@pytest.mark.parametrize("more", [(), ("-f", str(TRACES))])
def test_compose_itself_takes_the_file(folder: Path, more: tuple[str, ...]) -> None:
    if not has_compose():
        missing("docker compose", "it is in Debian's packages docker-cli and docker-compose")
    environ = {**os.environ, "WRIT_FOLDER": str(folder)}
    command = [
        "docker",
        "compose",
        "--env-file",
        str(folder / ".env"),
        "-f",
        str(COMPOSE),
        *more,
        "config",
        "--format",
        "json",
    ]
    configuration = json.loads(subprocess.run(command, env=environ, capture_output=True, check=True, timeout=60).stdout)
    assert set(configuration["services"]) >= {
        "nats",
        "keeper",
        "policy",
        "executor",
        "audit",
        "agent-local",
        "agent-ssh",
        "grafana",
    }


def has_compose() -> bool:
    """Return true if the docker command and its compose plugin are installed."""
    command = ["docker", "compose", "version"]
    return bool(shutil.which("docker")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_home_is_where_the_containers_look_for_it(compose: dict[str, Any], folder: Path) -> None:
    keeper = compose["services"]["keeper"]
    inside = {place: Path(of) for place, of in mounted(keeper).items()}
    home, container_home = Home(folder / ".writ"), Path(keeper["environment"]["WRIT_HOME"])
    for path in (home.config, home.joined, home.tokens, home.enrolled, home.servers, home.run):
        assert inside[str(container_home / path.relative_to(home.root))] == path


def test_every_variable_of_the_policy_and_the_record_reaches_its_services() -> None:
    known = yaml.safe_load(COMPOSE.read_text())["services"]
    variables = {
        "policy": ("SYSTEMMANAGER_POLICY_CONFIG", "SYSTEMMANAGER_POLICY_MODE", "SYSTEMMANAGER_ENABLE_DRY_RUN"),
        "executor": ("SYSTEMMANAGER_ENABLE_DRY_RUN", "SYSTEMMANAGER_AUDIT_LEVEL"),
    }
    for service, names in variables.items():
        for name in names:
            assert known[service]["environment"][name].startswith(f"${{{name}:-")


def test_the_nats_servers_free_memory_before_their_limit(compose: dict[str, Any]) -> None:
    servers = {name: one for name, one in compose["services"].items() if name.startswith("nats")}
    assert len(servers) == 3
    for service in servers.values():
        assert service["environment"] == {"GOMEMLIMIT": "3GiB", "GOGC": "200"}
        assert service["mem_limit"] == "4g"
    unit = (ROOT / "deploy" / "systemd" / "writ-nats.service").read_text()
    assert "\nEnvironment=GOMEMLIMIT=3GiB\n" in unit
    assert "\nEnvironment=GOGC=200\n" in unit
    assert "\nMemoryMax=4G\n" in unit


@pytest.mark.parametrize("name", [*ELSEWHERE, "jaeger"])
def test_an_image_of_others_has_a_full_version_and_may_be_pinned_by_a_digest(name: str) -> None:
    image = yaml.safe_load((TRACES if name == "jaeger" else COMPOSE).read_text())["services"][name]["image"]
    assert re.fullmatch(rf"\$\{{WRIT_{name.upper()}_IMAGE:-[a-z/]+:v?\d+\.\d+\.\d+\}}", image), image


def test_example_agent_of_the_gateway_has_a_role_of_the_first_policy() -> None:
    """Without one it sees no target, and every call ends as unknown_target."""
    (words,) = re.findall(r"^  #   docker compose run --rm (writ principal add .*)$", COMPOSE.read_text(), re.MULTILINE)
    (role,) = re.findall(r"--role (\S+)", words)
    policy = yaml.safe_load((ROOT / "libs/installation/writ_installation/policy.yaml").read_text())
    rules = policy["policies"]["global_policies"]
    assert role in {name for rule in rules if rule["allowed"] for name in rule.get("user_roles", [])}
