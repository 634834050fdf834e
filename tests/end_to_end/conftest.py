"""What every test of a whole program leaves behind as it was."""

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def ours() -> Iterator[None]:
    """Take back the guard that a replay sets for its process, which here is that of the tests."""
    hook = threading.excepthook
    yield
    threading.excepthook = hook
