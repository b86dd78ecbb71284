"""What the composition root refuses before it makes anything."""

from pathlib import Path

import pytest

from service.app import run
from service.errors import SettingsError
from service.settings import DetectSettings, Settings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (Settings(tuning=Path("tuning.toml")), "tuning: not available"),
        (Settings(detect=DetectSettings(screen=True)), "detect.screen: not available"),
    ],
)
def test_a_setting_that_would_have_no_effect_is_refused(settings: Settings, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        run(settings)
