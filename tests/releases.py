"""Releases of the tiny bundle for stations in tests: revisions, proved beside the line, some of which misbehave."""

import hashlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import yaml

from appliance.activation import Engine
from appliance.bundle.archive import read_bundle
from appliance.bundle.recipe_package import write_recipe_package
from appliance.config import load_config
from appliance.errors import ApplianceError
from appliance.products import activate_configured, load_bound_recipe
from appliance.recipe import load_recipe
from appliance.wiring import Appliance
from tests.models import tiny_bundle

WAIT_S = 60.0

BUNDLES = "(SELECT * FROM release_change WHERE kind = 'bundle')"
"""What the ledger says of releases of bundles, for queries."""


def release_file(folder: Path, revision: int, file: str = "tiny", **changes: Any) -> Path:
    """Write a release of the tiny bundle into the folder of releases."""
    folder.mkdir(exist_ok=True)
    return tiny_bundle(folder / f"{file}-{revision}.bundle", revision=revision, **changes)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prove_release(config: Path, bundle: Path, product: str = "", root: Path = Path("/")) -> None:
    """Prove a release for a product on the device that tells its state under root, as the agent does before it asks."""
    loaded, _ = load_config(config)
    release = read_bundle(bundle)
    recipe = load_bound_recipe(loaded, loaded.product_files()[product], release)
    engine: Engine = activate_configured(loaded, release, recipe, device_root=root)
    engine.close()


def with_releases(config: Path, **changes: Any) -> None:
    """Let a station's configuration name its folder of releases."""
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(document | {"releases": "releases"} | changes))


def ask(appliance: Appliance, command: str, **arguments: Any) -> dict[str, Any]:
    """Send a command as a link does, and wait for its answer; who asks is A. Person."""
    try:
        answer = appliance.station.on_command(command, {"by": "A. Person", **arguments})
    except ApplianceError as error:
        return {"ok": False, "error": str(error)}
    return answer.result(WAIT_S) if isinstance(answer, Future) else answer


def release(appliance: Appliance, product: str, file: Path, **more: Any) -> dict[str, Any]:
    return ask(appliance, "release", **{"product": product, **_named(file)} | more)


def shadow(appliance: Appliance, product: str, file: Path, **more: Any) -> dict[str, Any]:
    return ask(appliance, "shadow", **{"product": product, **_named(file)} | more)


def _named(file: Path) -> dict[str, str]:
    return {file.suffix.removeprefix("."): str(file), "sha256": sha256(file)}


def children_of(process: int) -> list[int]:
    """Return the process ids of a station's candidates."""
    numbers = [each for each in Path("/proc").iterdir() if each.name.isdigit()]
    return [int(each.name) for each in numbers if _is_candidate_of(each, process)]


def _is_candidate_of(folder: Path, process: int) -> bool:
    try:
        is_child = f"\nPPid:\t{process}\n" in (folder / "status").read_text()
        return is_child and b"appliance.shadow.child" in (folder / "cmdline").read_bytes()
    except OSError:
        return False


def recipe_release(config: Path, version: int, document: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a release of the station's recipe, with changes, into the folder of releases."""
    written = (document or yaml.safe_load((config.parent / "recipe.yaml").read_text())) | {"version": version} | changes
    content = yaml.safe_dump(written).encode()
    path = config.parent / "releases" / f"{written['name']}-{version}.recipe"
    path.write_bytes(write_recipe_package(written["name"], version, content, []))
    return path


def prove_recipe(config: Path, package: Path, product: str = "", root: Path = Path("/")) -> None:
    """Prove what judges a product with a released recipe, as the agent does before it asks."""
    loaded, _ = load_config(config)
    files = loaded.product_files()[product]
    bundle = read_bundle(files.bundle)
    recipe = load_bound_recipe(loaded, files, bundle, load_recipe(package))
    activate_configured(loaded, bundle, recipe, device_root=root).close()
