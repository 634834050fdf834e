"""What the tests of the front share."""

from tests.conformance.device import pair

__all__ = ["pair"]
