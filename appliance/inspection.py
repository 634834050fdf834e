"""correct -> infer -> decide for one part: the middle of the part's way, bound to a recipe and a proven bundle."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from appliance.events import Decision, Detection, Frame, ViewResult
from appliance.recipe import BoundRecipe
from appliance.stages.correct import correct, lay_reference, may_be_shown
from appliance.stages.decide import decide
from appliance.stages.infer import Inference

Result = TypeVar("Result")


class PartInspection:
    """Judges the pictures of one part after the other; used by the inspection thread alone.

    A picture is measured while the model looks at it: neither waits for what the other finds. A reference is laid over
    the part before, because the model looks at both.
    """

    def __init__(
        self, recipe: BoundRecipe, inference: Inference, note_inference_ms: Callable[[float], None] = lambda _: None
    ) -> None:
        """Bind the stages.

        Args:
            recipe: what to inspect and which limits decide.
            inference: finds defects on each view of that recipe.
            note_inference_ms: told what the model took for each part that it was shown, all views together.
        """
        self._recipe = recipe
        self._inference = inference
        self._note_inference_ms = note_inference_ms
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="correct")

    def __call__(
        self, frames: Mapping[str, Frame], stage_us: dict[str, int]
    ) -> tuple[Decision, tuple[ViewResult, ...]]:
        """Judge the pictures; see station.Inspect."""
        results: list[ViewResult] = []
        for view in self._recipe.views:
            frame = frames[view.name]
            measuring = self._beside.submit(_timed, stage_us, "correct", partial(correct, frame, view))
            laid = None
            if references := self._recipe.references.get(view.name, ()):
                laid = _timed(stage_us, "align", partial(lay_reference, frame, view, references))
            found: tuple[Detection, ...] = ()
            if may_be_shown(frame, view, laid):
                reference = laid.pixels if laid else None
                found = _timed(stage_us, "infer", partial(self._inference.infer, frame, reference))
            seen = measuring.result()
            alignment = laid.alignment if laid else None
            results.append(ViewResult(view.name, frame, seen.statistics, found, seen.offset_px, alignment))
        if "infer" in stage_us:
            self._note_inference_ms(stage_us["infer"] / 1000)
        return _timed(stage_us, "decide", partial(decide, results, self._recipe)), tuple(results)

    def close(self) -> None:
        """End the thread that measures."""
        self._beside.shutdown()


def _timed(stage_us: dict[str, int], stage: str, work: Callable[[], Result]) -> Result:
    started_ns = time.monotonic_ns()
    result = work()
    stage_us[stage] = stage_us.get(stage, 0) + (time.monotonic_ns() - started_ns) // 1000
    return result
