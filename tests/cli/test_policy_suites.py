"""`writ policy test` where there is no suite."""

from pathlib import Path

from click.testing import CliRunner

from writ_cli.main import cli


def test_policy_without_a_suite_is_named_with_the_file_to_write(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("policies: {}")
    refused = CliRunner().invoke(cli, ["policy", "test", str(policy)])
    assert refused.exit_code == 2
    assert refused.stderr == f"writ: {policy} has no suite: write its cases into {tmp_path / 'policy_test.yaml'}\n"
    refused = CliRunner().invoke(cli, ["policy", "test", str(tmp_path)])
    assert refused.stderr == f"writ: {tmp_path} has no suite: a file such as policy_test.yaml beside policy.yaml\n"
