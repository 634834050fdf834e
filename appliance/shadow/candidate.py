"""What the candidate's process does: load with a valid certificate, judge with the line's own code, answer in JSON."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from appliance.activation import Terms, activate
from appliance.bundle.archive import Bundle
from appliance.certification.folder import CertificateFolder
from appliance.config import Config, load_config
from appliance.errors import AnswerFault, ApplianceError, ConfigError, RuntimeFault
from appliance.events import ViewResult
from appliance.inspection import PartInspection
from appliance.ports import Runtime
from appliance.products import load_bound_recipe
from appliance.recipe import BoundRecipe, load_recipe
from appliance.release_file import read_recipe_release, read_release
from appliance.shadow.child import NO_MEMORY
from appliance.shadow.handover import Memory
from appliance.stages.infer import Inference, pictures_at_once

SIGNS_OF_NO_MEMORY = ("bad_alloc", "allocate memory", "out of memory")
"""In what runtimes say."""


def serve(requests: int, answers: int, pictures: int) -> int:
    """Answer requests until there are no more: first what is to judge, then part after part.

    Args:
        requests: descriptor that lines of JSON are read from.
        answers: descriptor that lines of JSON are written to.
        pictures: descriptor of the memory with a part's pictures.

    Returns:
        0; what went wrong is an answer, too.
    """
    lines = _lines(requests)
    with os.fdopen(answers, "wb", buffering=0) as out:

        def say(**word: Any) -> None:
            out.write(json.dumps(word, allow_nan=False).encode() + b"\n")

        try:
            asked = next(lines)
            memory = Memory(pictures, asked["size_bytes"], may_write=False)
            inspect, number = _load(asked)
            say(ready={"revision": number})
            for part in lines:
                say(judged=_judge(inspect, memory, part))
        except MemoryError:
            say(problem=NO_MEMORY)
        except AnswerFault as error:
            say(answered=error.what)
        except ApplianceError as error:
            is_full = any(sign in str(error).lower() for sign in SIGNS_OF_NO_MEMORY)
            say(problem=NO_MEMORY if is_full else str(error))
    return 0


def _judge(inspect: PartInspection, memory: Memory, part: dict[str, Any]) -> dict[str, Any]:
    started_ns = time.monotonic_ns()
    decision, views = inspect(memory.get(part["frames"]), {})
    label, score = _surest(views)
    return {
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "label": label,
        "score": score,
        "latency_us": (time.monotonic_ns() - started_ns) // 1000,
    }


def _surest(views: tuple[ViewResult, ...]) -> tuple[str | None, float | None]:
    found = [each for view in views for each in view.detections]
    best = max(found, key=lambda each: each.score, default=None)
    return (best.label, best.score) if best else (None, None)


def _load(asked: dict[str, Any]) -> tuple[PartInspection, int]:
    """Load the candidate as the line would, so that the same part gets the same verdict here; with its number.

    Raises:
        ApplianceError: the configuration or the recipe is another than the station's, or the candidate may not judge.
    """
    config, document = load_config(Path(asked["config"]))
    bundle = read_release(Path(asked["bundle"]), asked["bundle_digest"])
    if asked["kind"] == "recipe":
        released = read_recipe_release(Path(asked["recipe"]), asked["recipe_digest"])
    else:
        released = load_recipe(Path(asked["recipe"]))
    recipe = load_bound_recipe(config, config.product_files()[asked["key"]], bundle, released)
    for what, now, then in (
        ("configuration", document.digest, asked["config_digest"]),
        ("recipe", recipe.digest, asked["recipe_digest"]),
    ):
        if now != then:
            raise ConfigError(f"the {what} was edited since the station started with it; put it back, or start anew")
    with ExitStack() as undo:
        engine = _activate(config, bundle, recipe, Path(asked["device_root"]))
        undo.callback(engine.close)
        inspection = PartInspection(recipe, Inference(recipe, bundle.manifest, engine))
        undo.pop_all()
    return inspection, recipe.version if asked["kind"] == "recipe" else bundle.manifest.revision


def _activate(config: Config, bundle: Bundle, recipe: BoundRecipe, device_root: Path) -> Runtime:
    """Return the runtime by a valid certificate; how long it takes here says nothing, for this process goes last."""
    at_once = pictures_at_once(recipe, bundle.manifest)
    terms = Terms(recipe.name, recipe.version, recipe.digest, recipe.verdict_limits(), lambda _: math.inf, at_once)
    engine = activate(
        config.runtime,
        bundle,
        terms,
        certificates=CertificateFolder(config.certificates),
        device_root=device_root,
        may_prove=False,
        copies=1,
    )
    return engine.runtime


def _lines(descriptor: int) -> Iterator[dict[str, Any]]:
    with os.fdopen(descriptor, "rb") as file:
        for line in file:
            word = json.loads(line)
            if not isinstance(word, dict):
                raise RuntimeFault("the station said something that is no request")
            yield word
