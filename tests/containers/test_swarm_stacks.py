"""A stack for a swarm has the format of one, no keys that a swarm ignores, and services that run."""

import json
from typing import Any

import pytest

from writ_containers.compose.parse import parse
from writ_containers.stacks.stack_view import StackService, judged
from writ_containers.stacks.swarm_format import stack_json
from writ_containers.stacks.swarm_view import services_of
from writ_contracts.errors import Invalid
from writ_testing.each_case import each_case


def sent(service: str, rest: str = "") -> dict[str, Any]:
    text = f"services:\n  web: {{image: 'shop:1', {service}}}\n{rest}"
    return dict(json.loads(stack_json(parse(text, {}, "shop"), "a" * 26)))


def test_swarm_format_has_replicas_and_published_numbers() -> None:
    made = sent("scale: 3, ports: ['8080:80'], environment: {A: 'a$$b'}, deploy: {resources: {limits: {cpus: 0.5}}}")
    web = made["services"]["web"]
    labels = {"io.writops.operation": "a" * 26}
    assert web["deploy"] == {"replicas": 3, "resources": {"limits": {"cpus": "0.5"}}, "labels": labels}
    assert web["ports"] == [{"target": 80, "published": 8080}]
    assert web["environment"] == {"A": "a$$b"}
    assert "scale" not in web


@each_case(
    ("service", "rest", "named"),
    [
        ("restart: always", "", "services.web.restart is not for a swarm: use deploy.restart_policy"),
        ("depends_on: [db]", "  db: {image: 'db:1'}", "depends_on"),
        ("ports: ['127.0.0.1:80:80']", "", "publishes on every address"),
        ("ports: ['80']", "", "give one published port"),
        ("privileged: true", "", "privileged"),
        ("network_mode: host", "", "network_mode"),
        ("devices: [/dev/kvm]", "", "devices"),
        ("security_opt: [seccomp:unconfined]", "", "security_opt"),
        ("networks: {back: {ipv4_address: 10.0.0.9}}", "networks: {back: }", "ipv4_address"),
        ("networks: [back]", "networks: {back: {driver: bridge}}", "overlays"),
    ],
)
def test_keys_that_a_swarm_would_ignore_are_refused(service: str, rest: str, named: str) -> None:
    with pytest.raises(Invalid, match=named) as refused:
        sent(service, rest)
    assert refused.value.code == "compose_refused"


NEW, OLD = {"Image": "shop:2@sha256:" + "0" * 64}, {"Image": "shop:1"}


def observed_service(*tasks: dict[str, Any], replicas: int = 1, update: str = "", restart: str = "any") -> StackService:
    service = {
        "ID": "s" * 25,
        "Spec": {
            "Name": "shop_web",
            "Mode": {"Replicated": {"Replicas": replicas}},
            "TaskTemplate": {"ContainerSpec": NEW, "RestartPolicy": {"Condition": restart}},
        },
        "UpdateStatus": {"State": update},
    }
    (found,) = services_of("shop", [service], tasks).values()
    return found


def task(state: str, spec: dict[str, Any] = NEW, desired: str = "running", code: int = 0) -> dict[str, Any]:
    status = {"State": state, "ContainerStatus": {"ExitCode": code}}
    return {"ServiceID": "s" * 25, "Spec": {"ContainerSpec": spec}, "DesiredState": desired, "Status": status}


@each_case(
    ("service", "up", "ended", "text"),
    [
        (observed_service(task("running")), True, False, "1/1 running"),
        (observed_service(task("running"), replicas=2), False, False, "1/2 running"),
        (observed_service(task("running", OLD)), False, False, "0/1 running"),
        (observed_service(task("starting")), False, False, "0/1 running"),
        (observed_service(task("running", desired="shutdown")), False, False, "0/1 running"),
        (observed_service(task("running"), update="updating"), True, False, "1/1 running"),
        (observed_service(task("running", OLD), update="completed"), False, False, "0/1 running"),
        (observed_service(task("failed", code=7)), False, False, "0/1 running, failed with 7"),
        (observed_service(*[task("failed", code=7)] * 3), False, True, "0/1 running, failed with 7"),
        (
            observed_service(task("rejected"), update="paused"),
            False,
            True,
            "0/1 running, rejected, its update is paused",
        ),
        (observed_service(task("complete", desired="shutdown"), restart="none"), True, False, "1/1 running"),
        (observed_service(task("complete", desired="shutdown")), False, False, "0/1 running"),
        (observed_service(replicas=0), True, False, "0/0 running"),
    ],
)
def test_service_is_up_by_tasks_of_its_specification(service: StackService, up: bool, ended: bool, text: str) -> None:
    assert (service.up, service.ended, service.text) == (up, ended, text)
    assert service.images == ("shop:2",)


def test_failure_names_services_that_are_up() -> None:
    services = {"web": observed_service(task("running")), "db": observed_service(*[task("failed", code=7)] * 3)}
    assert judged({"web": 1, "db": 1}, services) == (True, "up: web; not up: db (0/1 running, failed with 7)")
