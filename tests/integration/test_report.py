"""The page of `scan --report` in a real browser: it has its looks, and hostile text does nothing."""

import datetime as dt
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from service.sample_day import CAST, sample_day
from tests.broker import ROOT
from tests.conftest import cannot_run
from tests.program import in_process

pytestmark = pytest.mark.long

CHROMIUM = shutil.which("chromium")
SHOTS = ROOT / ".cache" / "report"
DAY = sample_day(dt.date(2025, 3, 4))
RAN = "data-hostile-text-ran"
CODE = f"document.documentElement.setAttribute('{RAN}', '')"
HOSTILE = f'"\'><script>{CODE}</script><img src=x onerror="{CODE}"><svg onload="{CODE}"></svg>'
# Small and quiet: no GPU, no network, nothing of a user's own.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@pytest.fixture(autouse=True)
def chromium() -> None:
    """Debian's package of that name."""
    if CHROMIUM is None:
        cannot_run("no chromium: apt-get install chromium")


def browse(page: Path, folder: Path, *flags: str) -> str:
    done = subprocess.run(
        [CHROMIUM or "chromium", *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()],
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=100,
    )
    return done.stdout


def report(folder: Path, records: list[dict[str, Any]]) -> Path:
    (folder / "events.json").write_text(json.dumps({"Records": records}))
    done = in_process("scan", folder / "events.json", "--report", folder / "page.html")
    assert done.returncode == 0
    return folder / "page.html"


def first_pixel(png: bytes) -> str:
    """Of 8 bits a colour. The first of all is stored as it is, whatever filter its row has."""
    depth, kind = struct.unpack(">BB", png[24:26])
    assert (png[:8], depth, kind in {2, 6}) == (b"\x89PNG\r\n\x1a\n", 8, True)
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return f"#{zlib.decompress(data)[1:4].hex()}"


@pytest.mark.parametrize(("scheme", "setting", "card"), [("light", 1, "#ffffff"), ("dark", 0, "#171e2b")])
@pytest.mark.parametrize("size", ["1280,3000", "420,2600"])
def test_the_page_has_its_own_looks_in_both_colour_schemes(
    tmp_path: Path, scheme: str, setting: int, card: str, size: str
) -> None:
    """So the page's policy accepts its style. The pictures stay in .cache/report, to be looked at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = SHOTS / f"{scheme}-{size.partition(',')[0]}.png"
    shot.unlink(missing_ok=True)
    browse(
        report(tmp_path, DAY),
        tmp_path,
        f"--window-size={size}",
        f"--blink-settings=preferredColorScheme={setting}",
        f"--screenshot={shot}",
    )
    assert first_pixel(shot.read_bytes()) == card


def test_the_page_prints(tmp_path: Path) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    browse(report(tmp_path, DAY), tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={SHOTS / 'page.pdf'}")
    assert (SHOTS / "page.pdf").read_bytes().startswith(b"%PDF")


def hostile(value: Any, name: str = "") -> Any:
    """Every text of an event with hostile text after it, but for what makes it one of the attack."""
    if isinstance(value, dict):
        return {key: hostile(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, name) for inner in value]
    kept = {"eventName", "eventSource", "eventTime", "type", "accessKeyId", "policy"}
    return f"{value}{HOSTILE}" if isinstance(value, str) and name not in kept else value


def ran(dom: str) -> bool:
    (root,) = (line for line in dom.splitlines() if line.startswith("<html"))
    return RAN in root


def test_hostile_text_does_not_run(tmp_path: Path) -> None:
    """Wherever an event has text, of the request and of what the session did."""
    attack = [record for record in DAY if record["sourceIPAddress"] == CAST.intruder_address]
    dom = browse(report(tmp_path, [hostile(record) for record in attack]), tmp_path, "--dump-dom")
    assert dom.count("&lt;script&gt;document") > 100
    assert "iam:CreateUser" in dom
    assert not ran(dom)


@pytest.mark.parametrize("policy", [True, False])
def test_were_it_not_escaped_the_policy_would_still_stop_it(tmp_path: Path, *, policy: bool) -> None:
    """Without the policy it runs, so the test above would have seen it."""
    page = report(tmp_path, DAY)
    html = page.read_text().replace("</main>", f"{HOSTILE}</main>")
    page.write_text(html if policy else html.replace("Content-Security-Policy", "none"))
    assert ran(browse(page, tmp_path, "--dump-dom")) != policy
