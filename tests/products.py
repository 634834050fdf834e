"""Several products for one station of tests.plant, which judge the same pictures differently."""

from pathlib import Path
from typing import Any

import yaml

from tests.models import tiny_bundle
from tests.plant import RECIPE

PRODUCTS = ("plain", "tolerant")
"""plain rejects a part with a spot; tolerant, the same bundle with another limit, accepts it."""


def write_products(folder: Path, *, deadline_ms: int = 5000) -> dict[str, Any]:
    """Write recipes beside tiny.bundle; returns what a configuration has in place of `bundle` and `recipe`."""
    tiny_bundle(folder / "tiny.bundle")
    limits = {"plain": 0.5, "tolerant": 0.95}
    for name, limit in limits.items():
        recipe = RECIPE | {"name": name, "deadline_ms": deadline_ms, "classes": {"spot": {"reject_limit": limit}}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return {
        "products": {name: {"recipe": f"{name}.yaml", "bundle": "tiny.bundle"} for name in PRODUCTS},
        "product": "plain",
    }


def with_products(config: dict[str, Any], products: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of one product as one of several."""
    return {key: value for key, value in config.items() if key not in ("bundle", "recipe")} | products
