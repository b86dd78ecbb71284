"""What the composition root refuses, or warns of, before it makes anything."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.app import read_tuning, run
from service.errors import SettingsError
from service.settings import Settings

EXPIRED = """\
[[suppressions]]
name = "portal"
rules = ["*"]
principal_arn = "arn:aws:iam::111122223333:user/portal"
owner = "identity team"
reason = "the portal mints sessions"
expires = 2020-01-31
"""


def test_a_tuning_file_that_is_missing_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"tuning: none/tuning\.toml: no such file"):
        run(Settings(tuning=Path("none/tuning.toml")))


def test_an_expired_suppression_is_warned_about_and_never_stops_a_start(tmp_path: Path) -> None:
    file = tmp_path / "tuning.toml"
    file.write_text(EXPIRED, encoding="utf-8")
    with capture_logs() as logs:
        assert len(read_tuning(file).suppressions) == 1
    ((level, event, name, owner),) = [
        (entry["log_level"], entry["event"], entry["name"], entry["owner"]) for entry in logs
    ]
    assert (level, name, owner) == ("warning", "portal", "identity team")
    assert "expired" in event
