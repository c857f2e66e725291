"""An executor with real child processes, closed after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autotune.targets import LocalExecutor


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor() as made:
        yield made
