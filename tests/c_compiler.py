"""Tests that compile a library which stands in the way of a program: a clock that is set, a card, a refused core."""

import shutil

import pytest

needs_cc = pytest.mark.skipif(
    shutil.which("cc") is None, reason="the C compiler cc is not installed (packages gcc, libc6-dev)"
)
