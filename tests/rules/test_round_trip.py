"""Printed and read again a policy is the same, as YAML and as JSON, and printed once more it is the same text."""

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules import generate
from tests.rules.test_shipped_policies import SHIPPED

from writ_documents import shapes, yaml_file
from writ_rules.engine.policy_file.format import PolicyDocument


def read(text: str) -> PolicyDocument:
    return shapes.convert(yaml_file.parse(text.encode(), "policy.yaml"), PolicyDocument)


def as_yaml(policy: PolicyDocument) -> str:
    return yaml_file.dump(msgspec.to_builtins(policy))


def as_json(policy: PolicyDocument) -> str:
    return json.dumps(msgspec.to_builtins(policy))


def comes_back(policy: PolicyDocument) -> None:
    for printed in (as_yaml, as_json):
        text = printed(policy)
        again = read(text)
        assert again == policy
        assert printed(again) == text


@given(st.integers(0, 2**48))
def test_a_generated_policy_comes_back(seed: int) -> None:
    data: Any = generate.policy(Random(seed))
    policy = read(yaml_file.dump(data))
    comes_back(policy)
    assert msgspec.to_builtins(policy, str_keys=True) == msgspec.to_builtins(msgspec.convert(data, PolicyDocument))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_policy_comes_back(path: Path) -> None:
    comes_back(read(path.read_text()))
