"""Files in several processes: every answer comes, in order, whatever the sizes."""

import os.path
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import files
from service.files import each


def test_answers_come_in_the_order_of_the_files_though_large_ones_are_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SERIAL_BYTES", 1)
    monkeypatch.setattr(files, "BATCH_BYTES", 1_000)
    paths = []
    for number, size in enumerate((10, 10, 90_000, 0, 5_000, 800, 800, 70_000, 10)):
        path = tmp_path / str(number)
        path.write_bytes(b"x" * size)
        paths.append(str(path))
    assert list(each(paths, os.path.basename, 2)) == list("012345678")


@given(st.lists(st.integers(0, 3 * files.BATCH_BYTES), min_size=1, max_size=300))
def test_batches_hold_every_file_once_in_order_and_are_small_where_files_are(sizes: list[int]) -> None:
    found = files.batches(sizes)
    assert [place for batch in found for place in batch] == list(range(len(sizes)))
    for batch in found:
        assert 1 <= len(batch) <= files.BATCH_FILES
        assert len(batch) == 1 or sum(sizes[place] for place in batch) <= files.BATCH_BYTES
