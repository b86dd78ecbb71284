"""Fixtures of the tests of Avro and of the registry's client."""

from collections.abc import Iterator

import pytest

from tests.registry import Clock, FakeRegistry


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started


@pytest.fixture
def clock() -> Clock:
    return Clock()
