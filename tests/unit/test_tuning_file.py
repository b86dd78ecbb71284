"""config/tuning.toml: what is read from it, and the line that each mistake gives."""

from datetime import date
from pathlib import Path

import pytest

from service import tuning_file
from service.errors import SettingsError
from service.tuning import RuleTuning

GOOD = """\
publish_suppressed = true

[rules.sts-federation-token-suspicious]
duration_over_seconds = 43_200
disabled_clauses = ["powerful-managed-policy"]
severity = "critical"

[rules."signin-token-from-federated-session"]
include_assumed_roles = true

[[suppressions]]
name = "portal"
rules = ["sts-federation-token-issued"]
principal_arn = "arn:aws:iam::111122223333:user/portal"
owner = "identity team"
reason = "the portal mints sessions for its users"
expires = 2027-01-31
"""


def read(tmp_path: Path, text: str) -> list[str]:
    """The problems of a file with that text, without its folder."""
    file = tmp_path / "tuning.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        tuning_file.read(file)
    return [problem.replace(f"{tmp_path}/", "") for problem in raised.value.problems]


def test_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "tuning.toml"
    file.write_text(GOOD, encoding="utf-8")
    tuning = tuning_file.read(file)
    assert tuning.publish_suppressed
    assert tuning.of("sts-federation-token-suspicious") == RuleTuning(
        duration_over_seconds=43_200, disabled_clauses=frozenset({"powerful-managed-policy"}), severity="critical"
    )
    assert tuning.of("signin-token-from-federated-session").include_assumed_roles
    (suppression,) = tuning.suppressions
    assert suppression.expires == date(2027, 1, 31)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tuning.toml"
    file.write_text("", encoding="utf-8")
    assert tuning_file.read(file).of("sts-federation-token-issued") == RuleTuning()


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("publish_suppressed = true", "publish_suppressd = true", 1, "unknown key"),
        ("publish_suppressed = true", 'publish_suppressed = "yes"', 1, "true or false"),
        ("[rules.sts-federation-token-suspicious]", "[rules.sts-federation]", 3, "no such rule"),
        ("severity = ", "severty = ", 6, "unknown field `severty`"),
        ('"critical"', '"page"', 6, "Invalid enum value 'page'"),
        ("43_200", "90_000", 4, "has to be 0 to 86400"),
        ("powerful-managed-policy", "powerful", 5, "no clause of it"),
        ("include_assumed_roles = true", "duration_over_seconds = 60", 9, "belongs to sts-federation-token-susp"),
        ("principal_arn = ", "principal = ", 14, "unknown field `principal`"),
        ("principal_arn = ", "federated_user_name = ", 11, "missing required field `principal_arn`"),
        ("arn:aws:iam::111122223333:user/portal", "*", 14, "matches everybody"),
        ("2027-01-31", '"soon"', 17, "expires"),
        ('["sts-federation-token-issued"]', '["sts"]', 13, "no such rule: sts"),
        ("[[suppressions]]", "[[suppressions]", 11, "line 11"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    (problem,) = read(tmp_path, GOOD.replace(old, new, 1))
    assert words in problem
    assert problem.startswith(f"tuning.toml:{line}: ") or f"line {line}" in problem


def test_every_mistake_gets_its_line(tmp_path: Path) -> None:
    wrong = GOOD.replace("severity =", "severty =").replace("2027-01-31", '"soon"') + "\n[other]\n"
    assert [problem.split(":")[1] for problem in read(tmp_path, wrong)] == ["6", "17", "19"]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, GOOD + GOOD[GOOD.index("[[supp") :])
    assert "'portal' is there twice" in problem


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none.toml: no such file"):
        tuning_file.read(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(SettingsError, match=r"binary.toml"):
        tuning_file.read(tmp_path / "binary.toml")
