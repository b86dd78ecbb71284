"""The bench's tables: several runs taken together."""

from tests.bench.table import Row, markdown


def _lines(*runs: list[Row]) -> list[str]:
    return markdown(*runs).splitlines()[4:]


def test_a_ratio_is_to_the_row_of_the_same_round() -> None:
    """Over the medians it would be 0.25: what a slow hour does to both would count."""
    fast = [Row("live", "loop", "/s", (800.0, 1_000.0)), Row("live", "ours", "/s", (200.0, 500.0), of="loop")]
    slow = [Row("live", "loop", "/s", (100.0,)), Row("live", "ours", "/s", (100.0,), of="loop")]
    assert _lines(fast) == [
        "| loop | 900 /s | 800 to 1,000 |  |  |  |",
        "| ours | 350 /s | 200 to 500 | 0.38 of loop |  |  |",
    ]
    assert _lines(fast, slow) == [
        "| loop | 800 /s | 100 to 1,000 |  |  |  |",
        "| ours | 200 /s | 100 to 500 | 0.50 of loop |  |  |",
    ]


def test_a_row_that_one_run_leaves_out_is_taken_from_the_others() -> None:
    first = [Row("live", "loop", "/s", (200.0,), note="10 MB"), Row("files", "scan", "MB/s", (7.5,), note="x")]
    second = [Row("live", "loop", "/s", (200.0,), note="12 MB"), Row("live", "peer", "/s", (50.0,), of="loop")]
    assert markdown(first, second).split("\n\n")[1].splitlines()[2:] == [
        "| loop | 200 /s | 200 to 200 |  |  | 10 MB; 12 MB |",
        "| peer | 50 /s |  | 0.25 of loop |  |  |",
    ]
    assert markdown(first, second).splitlines()[-1] == "| scan | 7.5 MB/s |  |  |  | x |"
