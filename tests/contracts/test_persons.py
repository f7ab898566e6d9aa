"""Two principals are one person where one human acts by both."""

from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.inventory import Principal
from writ_contracts.people.persons import person_of, same_person
from writ_testing.each_case import each_case

KEY = "U" + "A2" * 27 + "B"
PRINCIPALS = {
    one.id: one
    for one in (
        Principal(id="alice", kind="human", key=KEY),
        Principal(id="alice-oncall", kind="human", key=KEY, person="alice"),
        Principal(id="bob", kind="human", key=KEY),
        Principal(id="claude", kind="agent", key=KEY, acts_for="alice-oncall"),
        Principal(id="helper", kind="agent", key=KEY, acts_for="claude"),
        Principal(id="codex", kind="agent", key=KEY, acts_for="bob"),
        Principal(id="ci", kind="service", key=KEY),
        Principal(id="a", kind="agent", key=KEY, acts_for="b"),
        Principal(id="b", kind="agent", key=KEY, acts_for="a"),
        Principal(id="orphan", kind="agent", key=KEY, acts_for="carol"),
    )
}


@each_case(
    ("principal", "person"),
    [
        ("alice", "alice"),
        ("alice-oncall", "alice"),
        ("claude", "alice"),
        ("helper", "alice"),
        ("codex", "bob"),
        ("ci", "ci"),
        ("a", "a"),
        ("b", "a"),
        ("orphan", "carol"),
        ("nobody", "nobody"),
    ],
)
def test_person_is_the_human_behind_a_principal(principal: str, person: str) -> None:
    assert person_of(principal, PRINCIPALS) == person


def test_agent_and_second_principal_are_the_same_person_as_their_human() -> None:
    assert same_person("alice", "alice-oncall", PRINCIPALS)
    assert same_person("helper", "alice-oncall", PRINCIPALS)
    assert not same_person("claude", "bob", PRINCIPALS)
    assert not same_person("claude", "codex", PRINCIPALS)


@given(st.sampled_from([*PRINCIPALS, "nobody"]), st.sampled_from([*PRINCIPALS, "nobody"]))
def test_relation_of_persons_is_mutual(a: str, b: str) -> None:
    assert same_person(a, b, PRINCIPALS) == same_person(b, a, PRINCIPALS)
    assert same_person(a, a, PRINCIPALS)
