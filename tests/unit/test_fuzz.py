"""A short fuzz run of the core, and that a longer one would tell us of what it finds."""

from pathlib import Path

import pytest

from service.errors import DecodeError
from tests.fuzz import fuzz_core, fuzz_shipped

SEED = 20_241_130


def test_a_short_fuzz_run_reaches_everything_and_raises_nothing(tmp_path: Path) -> None:
    figures, culprit = fuzz_core.fuzz(SEED, 2_000, 100, tmp_path)
    assert culprit is None
    assert figures.inputs == 2_000
    assert figures.records > 1_000
    assert figures.findings > 500
    assert min(figures.rejected, figures.ignored) > 10


@pytest.mark.parametrize("error", [ValueError, DecodeError])
def test_what_the_core_raises_is_kept_and_told(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decode error may come out of `load` only."""

    def broken(data: bytes, limit: int) -> object:
        raise error("json", "broken on purpose") if error is DecodeError else error("broken on purpose")

    monkeypatch.setattr(fuzz_core, "unwrap", broken)
    monkeypatch.setattr(fuzz_core, "KEPT", tmp_path)
    figures, culprit = fuzz_core.fuzz(SEED, 10, 100, tmp_path)
    assert figures.inputs == 1
    assert culprit == tmp_path / f"{SEED}-0.bin"
    assert culprit.read_bytes()
    assert "broken on purpose" in capsys.readouterr().err


def test_a_seed_makes_the_same_inputs_again() -> None:
    records = fuzz_core.corpus()
    made = [fuzz_core.make(1, 7, records) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0] != fuzz_core.make(1, 8, records)


@pytest.mark.parametrize("target", sorted(fuzz_shipped.TARGETS))
def test_a_short_fuzz_run_of_each_decoder_raises_nothing(target: str, tmp_path: Path) -> None:
    figures, culprit = fuzz_core.fuzz(SEED, 1_000, 100, tmp_path, fuzz_shipped.TARGETS[target])
    assert culprit is None
    assert figures.inputs == 1_000
    if target == "java-map":
        assert min(figures.maps, figures.doubtful_maps, figures.no_maps) > 50
    else:
        assert figures.records > 500
        assert figures.findings > 200
