"""Checks and classes of parameters, for all operations."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, field, structs

from writ_contracts import parameters as params
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue, Operation, Risk, check_declared, has_operation, not_offered, offers
from writ_contracts.parameters import PUBLIC, SENSITIVE, Class, Output, Parameters, Timeout
from writ_testing.each_case import each_case


class Example(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"^[a-z]+(?!\n)$", max_length=8), PUBLIC]
    count: Annotated[int, Meta(ge=1, le=9), PUBLIC] = 3
    ratio: Annotated[float | None, PUBLIC] = None
    account: Annotated[str, SENSITIVE] = "nobody"
    password: str | None = None
    tags: Annotated[list[str], PUBLIC] = field(default_factory=list)
    timeout: Annotated[Timeout, Meta(le=60)] = 10

    def __post_init__(self) -> None:
        if self.count == 7:
            raise ValueError("count is seven")


class Result(Output, frozen=True, kw_only=True):
    state: Annotated[str, PUBLIC] = ""
    log: str = ""


EXAMPLE = Operation(
    name="example",
    summary="An example.",
    parameters=Example,
    output=Result,
    risk=Risk.CHANGE,
    backends=("local",),
)


def test_defaults_are_applied_and_an_absent_optional_stays_absent() -> None:
    assert EXAMPLE.check({"name": "web"}) == {"name": "web", "count": 3, "account": "nobody", "tags": [], "timeout": 10}
    assert EXAMPLE.default_timeout == 10
    assert params.defaults(Example) == {"count": 3, "account": "nobody", "tags": [], "timeout": 10}


@each_case(
    ("values", "message"),
    [
        ({}, "example needs name"),
        ({"name": "web\n"}, "name"),
        ({"name": "WEB"}, "name"),
        ({"name": "x" * 9}, "name"),
        ({"name": "x" * 65_536}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"name": "web", "count": True}, "count"),
        ({"name": "web", "count": "3"}, "count"),
        ({"name": "web", "count": 3.5}, "count"),
        ({"name": "web", "count": 0}, "count"),
        ({"name": "web", "count": 10}, "count"),
        ({"name": "web", "count": 7}, "count is seven"),
        ({"name": "web", "ratio": True}, "ratio"),
        ({"name": "web", "ratio": "0.5"}, "ratio"),
        ({"name": "web", "tags": "a"}, "tags"),
        ({"name": "web", "tags": [True]}, "tags"),
        ({"name": "web", "timeout": 61}, "timeout"),
        ({"name": "web", "timeout": 0}, "timeout"),
        ({"name": "web", "Count": 3}, "no parameter 'Count'; did you mean 'count'"),
    ],
)
def test_parameter_that_breaks_the_schema_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        EXAMPLE.check(values)
    assert caught.value.code == "invalid_parameters"
    assert str(caught.value).startswith(("example: ", "example needs "))


def test_refusal_never_shows_a_value() -> None:
    for field_name in ("name", "password", "account", "count"):
        with pytest.raises(Invalid) as caught:
            EXAMPLE.check({"name": "web", field_name: ["hunter2"]})
        assert "hunter2" not in str(caught.value)


def test_text_of_the_wrong_form_is_reported_without_regular_expressions() -> None:
    catalogue = Catalogue(BUILT_IN)
    with pytest.raises(Invalid) as caught:
        catalogue["network_scan"].check({"cidr": "all"})
    assert str(caught.value) == "network_scan: cidr must be a network in CIDR form, without host bits"
    with pytest.raises(Invalid, match=r"ports\[1\] must be of the form \[address:\]\[host port:\]container port"):
        catalogue["container_create"].check({"container_name": "web", "image": "nginx", "ports": ["80", "x"]})
    with pytest.raises(Invalid, match="example: name: the form is wrong"):
        EXAMPLE.check({"name": "WEB"})


def test_mistakes_of_a_request_are_named_together_in_its_authors_terms() -> None:
    with pytest.raises(Invalid) as caught:
        Catalogue(BUILT_IN)["service_restart"].check({"service_nam": "nginx", "timeout": "soon"})
    assert str(caught.value) == (
        "service_restart needs service_name; no parameter 'service_nam'; did you mean 'service_name'?; "
        "timeout must be a whole number from 1 to 300 (seconds until the operation is ended on the host)"
    )


def test_mistakes_are_bounded_however_many_and_long_they_are() -> None:
    with pytest.raises(Invalid) as caught:
        EXAMPLE.check({"name": "web", **{f"{number}{'x' * 10_000}": 1 for number in range(1000)}})
    assert len(str(caught.value)) < 1100


def test_whole_number_is_a_float() -> None:
    assert EXAMPLE.check({"name": "web", "ratio": 2})["ratio"] == 2.0


def test_refused_word_of_a_list_is_not_quoted() -> None:
    """The message goes to the journal, and the value may be a misplaced secret."""
    with pytest.raises(Invalid, match="one of full, incremental") as refused:
        Catalogue(BUILT_IN)["backup_create"].check(
            {"backup_id": "one", "target_path": "/srv/x", "backup_type": "s3cret"}
        )
    assert "s3cret" not in str(refused.value)


def test_field_without_a_class_is_secret() -> None:
    assert params.classes(Example) == {
        "name": Class.PUBLIC,
        "count": Class.PUBLIC,
        "ratio": Class.PUBLIC,
        "account": Class.SENSITIVE,
        "password": Class.SECRET,
        "tags": Class.PUBLIC,
        "timeout": Class.PUBLIC,
    }
    assert params.classes(Result) == {"state": Class.PUBLIC, "log": Class.SECRET}


def test_public_fields_alone_are_shown_and_the_others_are_named() -> None:
    values = {"name": "web", "account": "root", "password": "hunter2", "of_a_newer_agent": 1}
    assert params.public(Example, values) == {"name": "web"}
    assert params.hidden(Example, values) == ["account", "of_a_newer_agent", "password"]


@given(
    st.dictionaries(
        st.sampled_from([*Example.__struct_fields__, "x"]), st.none() | st.text() | st.integers() | st.booleans()
    )
)
def test_parameters_of_any_values_are_checked_or_invalid(values: dict[str, Any]) -> None:
    try:
        effective = EXAMPLE.check(values)
    except Invalid:
        return
    assert EXAMPLE.check(effective) == effective


def test_nesting_bomb_is_invalid() -> None:
    bomb: list[Any] = []
    for _ in range(100_000):
        bomb = [bomb]
    with pytest.raises(Invalid):
        EXAMPLE.check({"name": "web", "tags": bomb})


def test_catalogue_is_closed_and_has_no_duplicates() -> None:
    catalogue = Catalogue([EXAMPLE])
    assert catalogue.find("example") is EXAMPLE
    assert list(catalogue) == ["example"]
    with pytest.raises(Invalid, match="no operation 'exampl' in the catalogue; did you mean 'example'") as caught:
        catalogue.find("exampl")
    assert caught.value.code == "unknown_operation"
    with pytest.raises(Invalid, match="example is defined twice"):
        Catalogue([EXAMPLE, EXAMPLE])


@pytest.mark.parametrize(
    ("capabilities", "backend", "offered"),
    [
        (None, "local", True),
        (None, "ssh", False),
        ([], "local", False),
        (["example"], "local", True),
        (["exam*"], "local", True),
        (["*"], "local", True),
        (["exam"], "local", False),
        (["xample", "example_*"], "local", False),
        (["*"], "ssh", False),
    ],
)
def test_target_offers_the_declared_operations_of_its_backend(
    capabilities: list[str] | None, backend: str, offered: bool
) -> None:
    assert offers(capabilities, backend, EXAMPLE) is offered


@each_case("backend", ["local", "ssh"])
@each_case("name", ["container_start", "container_update", "image_pull", "stack_deploy", "stack_status"])
def test_host_has_operations_on_containers_only_with_a_declared_engine(backend: str, name: str) -> None:
    host = Target(id="web", role="testing", backend=backend)
    operation = Catalogue(BUILT_IN)[name]
    assert not has_operation(host, operation)
    refusal = not_offered(host, operation)
    assert refusal.code == "unsupported"
    assert "its entry declares no container engine; add `docker: {}` to it in the inventory" in str(refusal)
    assert has_operation(structs.replace(host, docker={}), operation)
    assert has_operation(structs.replace(host, backend="docker"), operation)
    other = not_offered(structs.replace(host, capabilities=["service_*"]), operation)
    assert str(other) == f"web ({backend}) does not offer {name}"


@pytest.mark.parametrize(
    ("name", "backend", "declared", "example"),
    [
        ("backup_create", "local", {"backup": {"repository": "/b"}}, "`backup: {repository: …, password_file: …}`"),
        ("backup_list", "ssh", {"docker": {"backup": {"repository": "/b"}}}, "`backup: {repository: …"),
        ("backup_delete", "docker", {"backup": {"repository": "/b"}}, "`backup: {repository: …"),
        ("backup_restore", "proxmox", {"backup": {"storage": "b"}}, "`backup: {storage: …}`"),
        ("network_scan", "ssh", {"scan_networks": ["192.0.2.0/24"]}, "`scan_networks: [192.0.2.0/24]`"),
    ],
)
def test_operation_is_refused_on_a_target_without_the_key_that_it_needs(
    name: str, backend: str, declared: dict[str, Any], example: str
) -> None:
    target, operation = Target(id="web", role="testing", backend=backend), Catalogue(BUILT_IN)[name]
    with pytest.raises(Invalid, match=f"web has no {name}: its entry declares no ") as refused:
        check_declared(target, operation)
    assert refused.value.code == "not_declared"
    assert example in str(refused.value)
    check_declared(structs.replace(target, **declared), operation)
    check_declared(target, Catalogue(BUILT_IN)["service_status"])
