"""Published kinds of compose files are accepted, or refused with the right reason."""

import json
import re

import pytest
from tests.containers.published_stacks import PUBLISHED, Verdict

from writ_containers.checks.breakouts import HostPaths, breakouts
from writ_containers.compose.canonical_stack import compose_json, public_digest, settings, shown
from writ_containers.compose.parse import parse
from writ_containers.compose.types import Stack
from writ_contracts.errors import Invalid
from writ_testing.each_case import each_case

HOST = HostPaths(mount_roots=["/srv/stacks"], socket="/run/docker.sock")
ENV = {"PASSWORD": "s3cret$x", "TAG": "16", "EMPTY": ""}


def service(*lines: str) -> str:
    return "services:\n  web:\n    image: nginx\n" + "".join(f"    {line}\n" for line in lines)


ACCEPTED = {
    "one image": "services: {web: {image: nginx}}",
    "version and extensions": "version: '3.8'\nx-note: {a: 1}\nservices:\n  web: {image: nginx, x-b: 2}",
    "own name": "name: shop\nservices: {web: {image: nginx}}",
    "ports in every short form": service(
        "ports: ['80', '8080:80', '127.0.0.1:8081:80/tcp', '[::1]:53:53/udp', 8000, '3000-3005:3000']"
    ),
    "a long port": service("ports: [{target: 80, published: 8080, host_ip: 127.0.0.1, protocol: tcp}]"),
    "a database with a volume and a health check": """
services:
  db:
    image: postgres:${TAG:-15}
    restart: unless-stopped
    environment: {POSTGRES_PASSWORD: "${PASSWORD}", POSTGRES_USER: app}
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: {test: [CMD-SHELL, "pg_isready -U app"], interval: 10s, timeout: 5s, retries: 5}
volumes: {data: {}}
""",
    "a web server behind a proxy": """
services:
  proxy:
    image: traefik:v3
    command: [--providers.file.filename=/etc/traefik/dynamic.yaml, --entrypoints.web.address=:80]
    ports: ["80:80"]
    networks: [front]
    volumes: ["/srv/stacks/traefik:/etc/traefik:ro"]
  app:
    image: ghcr.io/example/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    labels: ["traefik.http.routers.app.rule=Host(`a.example`)"]
    depends_on: {db: {condition: service_healthy}}
    networks: {front: , back: {aliases: [backend]}}
  db: {image: redis:7, networks: [back], healthcheck: {test: redis-cli ping}}
networks: {front: {}, back: {internal: true, driver: bridge}}
""",
    "limits": service(
        "deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 256M, pids: 64}}}", "mem_limit: 1g"
    ),
    "hardening": service(
        "read_only: true", "user: '1000:1000'", "cap_drop: [ALL]", "cap_add: [NET_BIND_SERVICE]", "init: true",
        "security_opt: ['no-new-privileges:true']", "tmpfs: [/tmp]",
    ),
    "a worker": service("command: python -m worker --queue=${EMPTY:-default}", "stop_grace_period: 1m30s", "scale: 3"),
    "logging": service("logging: {driver: json-file, options: {max-size: 10m, max-file: '3'}}"),
    "numbers as text": service("scale: '${TAG}'", "environment: [PORT=8080, 'A=b=c']", "expose: [3000]"),
    "long mounts": service(
        "volumes:",
        "  - {type: bind, source: /srv/stacks/a, target: /a, read_only: true}",
        "  - {type: tmpfs, target: /tmp, tmpfs: {size: 64m}}",
        "  - {type: volume, target: /anonymous}",
    ),
    "a one-shot and what waits for it": """
services:
  migrate: {image: app:1, command: [migrate], restart: "no"}
  app: {image: app:1, depends_on: {migrate: {condition: service_completed_successfully}}}
""",
    "a side car": """
services:
  app: {image: app:1}
  vpn: {image: vpn:1, network_mode: 'service:app', pid: 'service:app'}
""",
    "hosts and dns": service(
        "extra_hosts: {db: 10.0.0.5}", "dns: [10.0.0.2]", "hostname: web", "ulimits: {nofile: 65536}"
    ),
}  # fmt: skip
REFUSED = {
    "build": (service("build: ."), "services.web.build builds"),
    "env_file": (service("env_file: .env"), "services.web.env_file reads a file"),
    "extends": (service("extends: {file: /etc/x.yaml, service: a}"), "extends reads other files"),
    "include": (
        "include: [https://example.org/x.git]\nservices: {web: {image: a}}",
        "compose.include reads other files",
    ),
    "secrets from files": ("secrets: {a: {file: /etc/shadow}}\nservices: {web: {image: a}}", "compose.secrets reads"),
    "configs from files": ("configs: {a: {file: /etc/shadow}}\nservices: {web: {image: a}}", "compose.configs reads"),
    "a variable of the agent": (service("environment: [HOME]"), "environment has an entry without `=`"),
    "a variable without a value": (service("command: ${HOME}"), "${HOME} has no value"),
    "a variable that is asked for": (service("command: '${NO:?please}'"), "${NO} has no value"),
    "a relative folder": (service("volumes: ['./data:/data']"), "volumes has a source that is neither"),
    "a home folder": (service("volumes: ['~/.ssh:/ssh']"), "volumes has a source that is neither"),
    "a folder above by the long form": (
        service("volumes: [{type: bind, source: ../x, target: /x}]"),
        "volumes has a folder that is not an absolute path",
    ),
    "driver options": (
        "services: {web: {image: a}}\nvolumes: {v: {driver_opts: {type: none, o: bind, device: /}}}",
        "volumes.v.driver_opts can name any folder",
    ),
    "a plugin for volumes": ("services: {web: {image: a}}\nvolumes: {v: {driver: rexray}}", "volumes"),
    "a network on the host": ("services: {web: {image: a}}\nnetworks: {n: {driver: macvlan}}", "networks"),
    "an undeclared volume": (service("volumes: ['data:/data']"), "uses data, which `volumes` does not declare"),
    "an undeclared network": (service("networks: [back]"), "uses back, which `networks` does not declare"),
    "a misspelt key": (service("comand: x"), "services.web.comand is not a key that a stack may have"),
    "another name": ("name: other\nservices: {web: {image: a}}", "name differs from stack_name"),
    "an alias": ("services:\n  a: &a {image: x}\n  b: *a\n", "aliases (*name) are not allowed"),
    "no service": ("services: {}", "services"),
    "a truth value as a variable": (service("environment: {A: yes}"), "environment.A must be text or a number"),
    "a program as provider": (service("provider: {type: sh}"), "provider runs a program"),
    "logs that go elsewhere": (service("logging: {driver: syslog}"), "logging"),
    "hooks": (service("post_start: [{command: x}]"), "post_start runs commands"),
    "a runtime": (service("runtime: sysbox"), "runtime replaces the isolation"),
    "a label of Compose": (service("labels: {com.docker.compose.project: x}"), "labels has a reserved name"),
    "no YAML": ("services: [", "compose, line 2:"),
    "a list": ("[1, 2]", "compose is not a mapping"),
}
BREAKOUTS = {
    "privileged": ("privileged: true", "allow_privileged"),
    "privileged by a variable": ("privileged: '${TAG:+true}'", "allow_privileged"),
    "host network": ("network_mode: host", "allow_host_network"),
    "network of a container": ("network_mode: 'container:db'", "allow_shared"),
    "host pid": ("pid: host", "allow_host_namespaces"),
    "host ipc": ("ipc: host", "allow_host_namespaces"),
    "host uts": ("uts: host", "allow_host_namespaces"),
    "no user namespace": ("userns_mode: host", "allow_host_namespaces"),
    "host cgroup": ("cgroup: host", "allow_host_namespaces"),
    "pid of a container": ("pid: 'container:x'", "allow_shared"),
    "capability": ("cap_add: [SYS_ADMIN]", "allow_capabilities"),
    "all capabilities in lower case": ("cap_add: [all]", "allow_capabilities"),
    "device": ("devices: ['/dev/kmsg:/dev/kmsg:r']", "allow_devices"),
    "host root": ("volumes: ['/:/host']", "allow_host_mounts"),
    "host folder by the long form": ("volumes: [{type: bind, source: /etc, target: /e}]", "allow_host_mounts"),
    "a way out of a root": ("volumes: ['/srv/stacks/../../etc:/e']", "allow_host_mounts"),
    "the socket": ("volumes: ['/var/run/docker.sock:/s:ro']", "allow_engine_socket"),
    "a folder with the socket": ("volumes: ['/run:/r']", "allow_engine_socket"),
    "a folder with the socket by two slashes": ("volumes: ['//run:/r']", "allow_engine_socket"),
    "a folder with the socket by a way back": ("volumes: ['/srv/../run:/r']", "allow_engine_socket"),
    "the root by a way back": ("volumes: [{type: bind, source: /.., target: /r}]", "allow_engine_socket"),
    "a folder with the socket by a process": ("volumes: ['/proc/1/root/run:/r']", "allow_engine_socket"),
    "no seccomp": ("security_opt: ['seccomp:unconfined']", "allow_unconfined"),
    "no AppArmor": ("security_opt: ['apparmor=unconfined']", "allow_unconfined"),
    "kernel parameters": ("sysctls: [net.ipv4.ip_forward=1]", "allow_unconfined"),
    "a network of somebody else": ("network_mode: shop2_default", "allow_shared"),
    "a namespace of no service of the stack": ("pid: 'service:other'", "allow_shared"),
    "volumes of a container": ("volumes_from: ['container:db']", "allow_shared"),
    "links to others": ("external_links: [db]", "allow_shared"),
}


def read(text: str) -> Stack:
    return parse(text, ENV, "shop")


def flags(stack: Stack) -> set[str]:
    return {one.flag for each in settings(stack) for one in breakouts(each, HOST)}


@each_case("text", ACCEPTED.values(), ids=ACCEPTED)
def test_compose_file_without_flags_reads_the_same_from_its_canonical_form(text: str) -> None:
    stack = read(text)
    assert flags(stack) == set()
    written = compose_json(stack, "shop").decode()
    assert parse(written, {}, "shop") == stack
    assert "$" not in written.replace("$$", "")


@each_case(("text", "verdict"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_stack_is_accepted_or_refused_as_expected(text: str, verdict: Verdict) -> None:
    if isinstance(verdict, str):
        with pytest.raises(Invalid) as refused:
            read(text)
        assert verdict in str(refused.value)
        return
    stack = read(text)
    assert flags(stack) == verdict
    assert parse(compose_json(stack, "shop").decode(), {}, "shop") == stack


def test_compose_files_are_sixty_and_attempts_to_break_out_twenty() -> None:
    assert len(ACCEPTED) + len(REFUSED) + len(PUBLISHED) >= 60
    assert len(BREAKOUTS) >= 20


@each_case(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_compose_file_is_refused_for_the_right_reason(text: str, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(text)
    assert reason in str(refused.value)
    assert refused.value.code == "compose_refused"


@each_case(("line", "flag"), BREAKOUTS.values(), ids=BREAKOUTS)
def test_attempt_to_break_out_needs_its_flag(line: str, flag: str) -> None:
    assert flag in flags(read(service(line)))


@pytest.mark.parametrize("part", ["networks: {n: {external: true}}", "volumes: {v: {external: true, name: theirs}}"])
def test_object_outside_the_stack_needs_a_flag(part: str) -> None:
    assert flags(read(f"services: {{web: {{image: a}}}}\n{part}")) == {"allow_shared"}


def test_substituted_value_adds_no_key_and_no_item() -> None:
    env = {"X": 'a"\nprivileged: true\n- b', "Y": "a:/b,c:/d"}
    stack = parse(service("environment: {A: '${X}'}", "command: ['$X', '${Y}']"), env, "shop")
    web = stack.services["web"]
    assert (web.privileged, web.environment, web.command) == (False, {"A": env["X"]}, [env["X"], env["Y"]])


def test_secrets_are_neither_shown_nor_in_the_digest_nor_in_an_error() -> None:
    text = service("environment: {A: '${PASSWORD}'}", "labels: {auth: '${PASSWORD}'}", "command: ['${PASSWORD}']")
    stack = read(text)
    assert "s3cret" not in json.dumps(shown(stack))
    assert public_digest(stack) == public_digest(parse(text, {"PASSWORD": "other"}, "shop"))
    with pytest.raises(Invalid) as refused:
        read(service("scale: '${PASSWORD}'"))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "environment: {USER: bob, PASSWORD:s3cret}",
        "environment: {PASSWORD=s3cret}",
        "environment: {PASSWORD=s3cret: 1, PASSWORD=s3cret: 2}",
        "environment: {PASSWORD=s3cret: pa$word}",
        "environment: {A: 'pa${s3cret}'}",
        "environment: {A: 'pa${s3cret:?}'}",
        "labels: {a=s3cret}",
        "sysctls: {x=s3cret}",
        "networks: {x=s3cret: {y: 1}}",
        "deploy: {resources: {limits=s3cret: {}}}",
        "environment:s3cret: x",
        "healthcheck: {test: [CMD, a], 'retries:s3cret': }",
        "healthcheck: {test: [CMD, a], 'retries` - at `$.s3cret': 1}",
    ],
)
def test_password_in_place_of_a_key_or_variable_is_not_in_the_error(line: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(service(line))
    assert "s3cret" not in str(refused.value)
    assert re.search(r"an entry (of \S|that is not)|a variable|a key occurs", str(refused.value))


@pytest.mark.parametrize(
    "value", ["!s3cret", "!!s3cret", "!<s3cret>", "pa$s3cret", "0173251", "[s3cret", "*s3cret", "@s3cret"]
)
@pytest.mark.parametrize("line", ["environment: {A: %s }", "environment:\n      A: %s", "command: %s"])
def test_password_that_needs_quotes_is_not_in_the_error(value: str, line: str) -> None:
    """The error is on record, and a file of stack_dir may have passwords as text."""
    with pytest.raises(Invalid) as refused:
        read(service(line % value))
    assert not {"s3cret", "173251", str(0o173251)} & set(re.findall(r"\w+", str(refused.value)))
