"""What no linter asks for: whoever switches a check off in place says why."""

import re

from tests.broker import ROOT

MARK = re.compile(r"# (?:noqa|type: ignore)\b")
# Whatever sets it apart from the codes, a reason begins with a word, which is not that of a further exception.
CODES = r"(?:noqa: [A-Z]+\d+(?:,? [A-Z]+\d+)*|type: ignore\[[a-z,-]+\])"
WITH_REASON = re.compile(rf"# {CODES} +(?:# |-+ )?(?!noqa|type:)\w")


def test_every_exception_in_place_has_a_reason() -> None:
    """Those for more than one place stand in pyproject.toml, each with its own."""
    marked = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("service", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MARK.search(line)
    ]
    assert marked
    assert [line for line in marked if not WITH_REASON.search(line)] == []
