"""The bounds of a container's lists are the same for a create, an update and the services of a stack."""

from typing import Any

import pytest

from writ_containers.checks.breakouts import ContainerSettings, HostPaths
from writ_containers.checks.container_bounds import port_range, refuse_out_of_bounds
from writ_containers.checks.image_names import is_image_within
from writ_containers.checks.settings_check import check_settings
from writ_containers.compose import canonical_stack
from writ_containers.compose.parse import parse
from writ_containers.containers import container_config, container_recreate
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.catalogue.containers import ContainerCreate
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_testing.each_case import each_case

DIGEST = "sha256:" + "a" * 64
STACK_DEPLOY = Catalogue(BUILT_IN)["stack_deploy"]
HOST = HostPaths(mount_roots=["/srv"], socket="/run/docker.sock")


def outside(one: ContainerSettings, **bounds: Any) -> str:
    try:
        refuse_out_of_bounds([one], bounds)
    except Invalid as refused:
        return f"{refused.code}: {refused}"
    return ""


def web(**settings: Any) -> ContainerSettings:
    return ContainerSettings(name="web", **settings)


@each_case(
    ("image", "bound"),
    [
        ("registry.example/team/shop:1", "registry.example/*"),
        ("registry.example/team/shop:1", "registry.example/team/shop"),
        ("registry.example:5000/shop", "registry.example:5000/shop:latest"),
        ("nginx", "docker.io/library/nginx"),
        ("docker.io/library/nginx:latest", "docker.io/*"),
        ("index.docker.io/grafana/grafana:12", "docker.io/grafana/*:12"),
        (f"nginx@{DIGEST}", "*/*@sha256:*"),
        (f"registry.example/shop@{DIGEST}", f"registry.example/*@{DIGEST}"),
        (f"registry.example/shop:1@{DIGEST}", "registry.example/shop"),
        ("localhost/shop", "localhost/*"),
    ],
)
def test_image_is_within_a_bound(image: str, bound: str) -> None:
    assert is_image_within(image, bound)
    assert STACK_DEPLOY.check({"stack_name": "shop", "source": "shop", "only_images": [bound]})


@each_case(
    ("image", "bound"),
    [
        ("registry.example.evil.com/shop", "registry.example/*"),
        ("evil.com/registry.example/shop", "registry.example/*"),
        ("registry.example:5000/shop", "registry.example/*"),
        ("REGISTRY.example/shop", "registry.example/*"),
        ("REGISTRY/shop", "docker.io/*"),
        ("registry.example/shop2", "registry.example/shop"),
        ("registry.example/team/shop", "registry.example/shop"),
        ("nginx:1", "*/*@sha256:*"),
        (f"registry.example/shop:1@{DIGEST}", "registry.example/shop:1"),
        (f"registry.example/shop@{DIGEST}", "registry.example/shop:latest"),
        ("shop/nginx", "docker.io/library/*"),
        ("deadbeef", "docker.io/library/*"),
        ("f", "docker.io/*"),
        ("a" * 64, "*/*"),
        (DIGEST, "*/*"),
        ("", "*/*"),
        ("nginx\n", "*/*"),
    ],
)
def test_image_of_another_registry_or_a_possible_id_is_outside(image: str, bound: str) -> None:
    assert not is_image_within(image, bound)


@pytest.mark.parametrize(
    "bound",
    ["registry.example*", "nginx", "docker.io/nginx", "shop/nginx", "index.docker.io/*", "*.example/a", "R.example/*"],
)
def test_bound_that_matches_no_image_is_refused(bound: str) -> None:
    with pytest.raises(Invalid, match="only_images"):
        STACK_DEPLOY.check({"stack_name": "shop", "source": "shop", "only_images": [bound]})


@pytest.mark.parametrize("bound", ["127.0.0.1:90-80", "[::0001]", "0177.0.0.1", "localhost", "*:0", "[::ffff:1.2.3.4]"])
def test_bound_that_matches_no_port_is_refused(bound: str) -> None:
    with pytest.raises(Invalid, match="only_ports"):
        STACK_DEPLOY.check({"stack_name": "shop", "source": "shop", "only_ports": [bound]})


@pytest.mark.parametrize(
    ("address", "published", "bound"),
    [
        ("127.0.0.1", "80", "127.0.0.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("0:0:0:0:0:0:0:1", "80", "[::1]:80"),
        ("127.0.0.1", "8000-8010", "127.0.0.1:8000-8010"),
        (None, "443", "*:443"),
        ("10.0.0.1", "443", "*:443"),
    ],
)
def test_port_is_within_a_bound(address: str | None, published: str | None, bound: str) -> None:
    assert outside(web(ports=[port_range(address, published)]), only_ports=[bound]) == ""


@pytest.mark.parametrize(
    ("address", "published", "bound"),
    [
        (None, "80", "127.0.0.1"),
        (None, "80", "0.0.0.0"),
        ("0.0.0.0", "80", "127.0.0.1"),
        ("127.0.0.1", None, "127.0.0.1:80"),
        ("127.0.0.1", "0", "127.0.0.1:80"),
        ("127.0.0.1", "8000-8011", "127.0.0.1:8000-8010"),
        ("127.0.0.1", "90-70", "127.0.0.1:80-95"),
        ("localhost", "80", "127.0.0.1"),
        ("::ffff:127.0.0.1", "80", "127.0.0.1"),
    ],
)
def test_port_on_another_address_or_beyond_a_range_is_outside(
    address: str | None, published: str | None, bound: str
) -> None:
    assert "is outside only_ports" in outside(web(ports=[port_range(address, published)]), only_ports=[bound])


@each_case(
    ("settings", "bounds", "message"),
    [
        ({"binds": ["/srv/a", "/srv"]}, {"only_mounts": ["/srv"]}, ""),
        (
            {"binds": ["/srv2"]},
            {"only_mounts": ["/srv"]},
            "bounds_refused: web: the mount of /srv2 is outside only_mounts",
        ),
        ({"binds": ["/srv/../etc"]}, {"only_mounts": ["/srv"]}, "the mount of /srv/../etc is outside only_mounts"),
        ({"binds": ["/srv"]}, {"only_mounts": ["*"]}, "the mount of /srv is outside only_mounts"),
        ({"volumes": ["shop_data"]}, {"only_mounts": ["/srv", "shop_*"]}, ""),
        ({"volumes": ["other"]}, {"only_mounts": ["/"]}, "volume other is outside only_mounts"),
        ({"networks": ["front"]}, {"only_networks": ["front", "back"]}, ""),
        ({"networks": ["host"], "network": "host"}, {"only_networks": ["bridge"]}, "network host is outside"),
        ({"network": "host"}, {"only_ports": ["127.0.0.1"]}, "port * is outside only_ports"),
        ({"cap_add": ["CHOWN", "cap_net_admin"]}, {"only_capabilities": ["NET_ADMIN"]}, ""),
        ({"cap_add": ["ALL"]}, {"only_capabilities": ["NET_ADMIN"]}, "capability ALL is outside only_capabilities"),
        ({"privileged": True}, {"only_capabilities": ["NET_ADMIN"]}, "capability ALL is outside only_capabilities"),
        ({"image": "nginx"}, {"only_images": []}, "image nginx is outside only_images"),
        ({"image": "nginx"}, {"only_images": None}, ""),
    ],
)
def test_lists_have_their_bounds(settings: dict[str, Any], bounds: dict[str, Any], message: str) -> None:
    found = outside(web(**settings), **bounds)
    assert message in found
    assert bool(message) == bool(found)


CREATE = ContainerCreate(
    container_name="web",
    image="shop:1",
    ports=["127.0.0.1:80:80", "53/udp"],
    mounts=["/srv/a:/a", "data:/d:ro"],
    cap_add=["NET_ADMIN"],
)
RAW = {
    "Id": "b" * 64,
    "Name": "/web",
    "HostConfig": {
        "NetworkMode": "default",
        "PortBindings": {
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}],
            "53/udp": [{"HostIp": "", "HostPort": ""}],
        },
        "Binds": ["/srv/a:/a", "data:/d:ro", "c" * 64 + ":/own"],
        "CapAdd": ["CAP_NET_ADMIN"],
    },
    "NetworkSettings": {"Networks": {"bridge": {}}},
}
COMPOSE = """
services:
  web:
    image: shop:1
    network_mode: bridge
    ports: ["127.0.0.1:80:80", "53/udp"]
    volumes: ["/srv/a:/a", "data:/d:ro", "own:/own"]
    cap_add: [NET_ADMIN]
volumes: {data: {external: true}, own: {}}
"""


def settings_of_all() -> list[ContainerSettings]:
    stack = canonical_stack.settings(parse(COMPOSE, {}, "shop"))
    return [container_config.settings(CREATE), container_recreate.settings(RAW, {}, "shop:1"), stack[0]]


@pytest.mark.parametrize("at", range(3), ids=["create", "update", "stack"])
def test_create_update_and_stack_have_the_same_bounds(at: int) -> None:
    one = settings_of_all()[at]
    facts = one.image, list(one.ports), one.binds, one.volumes, one.networks
    ports = [("127.0.0.1", 80, 80), ("*", 1, 65_535)]
    assert facts == ("shop:1", ports, ["/srv/a"], ["data"], ["bridge"])
    bounds = {"only_images": ["docker.io/library/shop:1"], "only_ports": ["*"], "only_mounts": ["/srv", "data"]}
    assert outside(one, **bounds, only_networks=["bridge"], only_capabilities=["NET_ADMIN"]) == ""
    for name in (*bounds, "only_networks", "only_capabilities"):
        assert f"is outside {name}" in outside(one, **{name: []})


def test_ports_that_the_engine_chooses_are_bounded() -> None:
    raw = {**RAW, "HostConfig": {"PublishAllPorts": True, "NetworkMode": "host"}, "NetworkSettings": {}}
    one = container_recreate.settings(raw, {}, "shop:1")
    assert "port * is outside only_ports" in outside(one, only_ports=["127.0.0.1"])
    assert one.networks == ["host"]


@pytest.mark.parametrize(
    ("lines", "networks", "volumes"),
    [
        ("", [], []),
        ("\nnetworks: {default: {external: true, name: theirs}}", ["theirs"], []),
        (", networks: [n]}}\nnetworks: {n: {name: theirs}}", ["theirs"], []),
        (", networks: [n]}}\nnetworks: {n: {}}", [], []),
        (", network_mode: 'container:db'}}", ["container:db"], []),
        (", network_mode: none}}", [], []),
        (", volumes_from: ['container:db']}}", [], ["of container:db"]),
        (", volumes: ['v:/v', '/anonymous']}}\nvolumes: {v: {name: theirs}}", [], ["theirs"]),
    ],
)
def test_networks_and_volumes_of_a_stack_itself_are_not_bounded(
    lines: str, networks: list[str], volumes: list[str]
) -> None:
    text = "services: {web: {image: a" + (lines if lines.startswith(",") else "}}" + lines)
    (web_service, _) = canonical_stack.settings(parse(text, {}, "shop"))
    assert (list(web_service.networks), list(web_service.volumes)) == (networks, volumes)


def test_flag_does_not_lift_a_bound() -> None:
    parameters = ContainerCreate(
        container_name="web", image="shop:1", mounts=["/etc:/e"], allow_host_mounts=True, only_mounts=["/srv"]
    )
    with pytest.raises(Invalid, match="the mount of /etc is outside only_mounts"):
        check_settings([container_config.settings(parameters)], parameters, HOST)


@pytest.mark.parametrize("image", ["deadbeef", "cafe", "3", "a" * 64, "sha256:" + "a" * 64, "sha256:3f2a"])
def test_image_by_its_id_is_refused_with_and_without_bounds(image: str) -> None:
    created = container_config.settings(ContainerCreate(container_name="web", image=image))
    updated = container_recreate.settings(RAW, {}, image)
    stack = canonical_stack.settings(parse(COMPOSE.replace("shop:1", f"'{image}'"), {}, "shop"))
    for judged in ([created], [updated], stack):
        with pytest.raises(Invalid, match=f"{image} may be the id of an image") as refused:
            check_settings(judged, CREATE, HOST)
        assert refused.value.code == "image_id_refused"


@pytest.mark.parametrize("image", ["cafe:1", "cafe/beef", f"cafe@{DIGEST}", "registry.example/cafe", "shop"])
def test_image_name_that_is_no_id_is_accepted(image: str) -> None:
    created = container_config.settings(ContainerCreate(container_name="web", image=image))
    check_settings([created], ContainerCreate(container_name="web", image=image), HOST)
