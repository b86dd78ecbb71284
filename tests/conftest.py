"""Fixtures and hypothesis profiles that every test may use."""

import os
from collections.abc import Iterator
from typing import NoReturn

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from tests.broker import ROOT, Broker, Kafka, fetch_jars, missing
from tests.secured import SecuredBroker

CI = os.environ.get("CI") == "true"
KAFKA_BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP")

# A deadline for each example says more about the machine than about the code.
set_hypothesis_home_dir(ROOT / ".cache" / "hypothesis")
hypothesis.settings.register_profile("default", max_examples=50, deadline=None, derandomize=False)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("fuzz", max_examples=20_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if CI else "default"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A real Kafka: the one KAFKA_BOOTSTRAP names, else one that is started for this test run."""
    if KAFKA_BOOTSTRAP:
        kafka = Kafka(KAFKA_BOOTSTRAP)
        yield kafka
        kafka.delete_created_topics()
        return
    if lack := missing():
        cannot_run(lack)
    with Broker(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A real Kafka that asks who is there, and allows nobody anything unless told to."""
    if lack := missing():
        cannot_run(lack)
    with SecuredBroker(tmp_path_factory.mktemp("secured")) as started:
        yield started


@pytest.fixture
def own_broker(broker: Kafka) -> Iterator[Broker]:
    """The same Kafka where a test may stop, kill and start it; it runs again after the test."""
    if not isinstance(broker, Broker):
        cannot_run("the broker that KAFKA_BOOTSTRAP names is not ours to stop")
    yield broker
    broker.start()


@pytest.fixture
def kafka_tools() -> None:
    """For a test that runs Kafka's own tools: they need Java even where the broker is someone else's."""
    if lack := missing():
        cannot_run(lack)


@pytest.fixture
def topic(broker: Kafka) -> str:
    """The name of a new topic with one partition."""
    return broker.new_topic()


def pytest_report_header() -> str | None:
    lack = None if KAFKA_BOOTSTRAP else missing()
    return lack and f"tests marked broker cannot run: {lack}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _asks_for({"broker", "kafka_tools", "secured"}, item):
            item.add_marker("broker")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch Kafka before the first test, whose timeout is not meant for a download."""
    needs_jars = {"kafka_tools", "secured"} if KAFKA_BOOTSTRAP else {"broker", "kafka_tools", "secured"}
    wanted = any(_asks_for(needs_jars, item) for item in session.items)
    if wanted and not session.config.option.collectonly and not missing():
        fetch_jars()


def _asks_for(fixtures: set[str], item: pytest.Item) -> bool:
    return not fixtures.isdisjoint(getattr(item, "fixturenames", ()))


def cannot_run(reason: str) -> NoReturn:
    """In CI a missing real part is a failure: a skip there would pass for a proof."""
    if CI:
        pytest.fail(reason)
    pytest.skip(reason)
