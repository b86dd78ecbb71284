"""Fixtures of the tests that run Helm."""

import pytest

from tests.conftest import cannot_run
from tests.deploy import chart


@pytest.fixture(scope="session")
def helm() -> None:
    """For a test that runs the real helm."""
    if lack := chart.missing():
        cannot_run(lack)
    chart.fetch_helm()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build helm before the first test, whose timeout is not meant for a compiler."""
    wanted = any("helm" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and not chart.missing():
        chart.fetch_helm()
