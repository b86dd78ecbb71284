"""The picture of the live part: a bar a contestant, as SVG, and as PNG where Chromium is at hand."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.table import Row

_WIDTH: Final = 860
_LEFT: Final = 250  # where bars begin
_BAR: Final = 22
_STEP: Final = 34
_TOP: Final = 56
_RIGHT: Final = 110  # room for the longest bar's number
# Colours that stand out on white and on GitHub's dark grey alike; the texts' follow the reader's scheme.
_STYLE: Final = """
  text { font: 14px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .number { font-variant-numeric: tabular-nums }
  .ours { fill: #2f81f7 } .peer { fill: #8b949e } .limit { fill: #57ab5a }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""


def draw(rows: Sequence[Row], folder: Path) -> None:
    """`live.svg` and `live.png`; neither where nothing of it was measured."""
    shown = [row for row in rows if row.part == "live" and row.unit == "records/s" and row.values]
    shown = [row for row in shown if row.of == "do-nothing loop" or row.of is None]
    shown = sorted((row for row in shown if ": " not in row.name), key=lambda row: -median(row.values))
    if not shown:
        return
    file = folder / "live.svg"
    file.write_text(svg(shown), encoding="utf-8")
    if chromium := shutil.which("chromium"):
        _picture(chromium, file, _height(shown))


def svg(rows: Sequence[Row]) -> str:
    most = max(median(row.values) for row in rows)
    bars = "\n".join(_bar(row, _TOP + number * _STEP, most) for number, row in enumerate(rows))
    height = _height(rows)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size}>
<title>CloudTrail records a second</title>
<style>{_STYLE}</style>
<text class="title" x="0" y="24">CloudTrail records a second, 1.35 KB each, broker and reader on two cores</text>
{bars}
</svg>
"""


def _height(rows: Sequence[Row]) -> int:
    return _TOP + len(rows) * _STEP


def _bar(row: Row, top: int, most: float) -> str:
    rate = median(row.values)
    length = max(1, round(rate / most * (_WIDTH - _LEFT - _RIGHT)))
    kind = "ours" if row.name.startswith("Tokentrail") else "limit" if row.of is None else "peer"
    middle = top + _BAR - 6
    return (
        f'<text x="{_LEFT - 10}" y="{middle}" text-anchor="end">{escape(row.name)}</text>'
        f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{length}" height="{_BAR}" rx="3"/>'
        f'<text class="number" x="{_LEFT + length + 8}" y="{middle}">{rate:,.0f}</text>'
    )


def _picture(chromium: str, file: Path, height: int) -> None:
    """On white: a PNG cannot follow the reader's colours."""
    with tempfile.TemporaryDirectory(prefix="bench-") as profile:
        asked = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
        size = (f"--window-size={_WIDTH},{height}", "--force-device-scale-factor=2")
        png = file.with_suffix(".png").absolute()
        command = [chromium, *asked, *size, f"--screenshot={png}", file.absolute().as_uri()]
        subprocess.run(command, capture_output=True, timeout=60, check=True)
