"""`writ run --diff` shows the preview's diff only of the change that the run made."""

from typing import Any

import pytest
from msgspec import structs
from tests.cli.test_approval_cards import sample_of

from writ_cli.operations.running.run_diff import RunPreview, problem_of
from writ_contracts.requests import OperationView

BEFORE, AFTER = "a" * 64, "b" * 64
CHANGE = {"created": False, "digest_before": BEFORE, "digest_after": AFTER}
MOVED = "the target changed between the preview and the run"


@pytest.mark.parametrize(
    ("previewed", "made", "problem"),
    [
        ({}, {}, ""),
        ({"digest_after": ""}, {}, ""),
        ({"digest_before": "", "digest_after": ""}, {}, "the preview or the outcome has no digest of the change"),
        ({"digest_after": "", "digest_before": "c" * 64}, {}, MOVED),
        ({"digest_after": "c" * 64}, {}, MOVED),
        ({"created": True, "digest_before": ""}, {}, MOVED),
        ({"created": True, "digest_before": ""}, {"created": True, "digest_before": ""}, ""),
    ],
    ids=["same", "large-source", "large-files", "large-and-moved", "other-source", "appeared", "created"],
)
def test_a_diff_is_left_out_only_where_the_change_is_another_one(
    previewed: dict[str, Any], made: dict[str, Any], problem: str
) -> None:
    """A preview has no digest of a file that is too large to hash for it; the run hashes what it copies."""
    view = structs.replace(sample_of(OperationView), outcome="succeeded", output=CHANGE | made)
    assert problem_of(view, RunPreview(output={**CHANGE, "diff": "", **previewed})) == problem


@pytest.mark.parametrize("before", ["", "1.0"])
def test_a_package_that_was_absent_in_the_preview_alone_is_another_change(before: str) -> None:
    view = structs.replace(sample_of(OperationView), outcome="succeeded", output={"version_before": "1.0"})
    preview = RunPreview(output={"version_before": before, "would": "install"})
    assert problem_of(view, preview) == ("" if before else MOVED)
