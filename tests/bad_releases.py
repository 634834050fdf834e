"""Releases that are signed, sound as files, and bad at a line: one for each way in which a trainer can err.

Their model finds two classes, "spot" and brighter "glint"; a picture of the background TRAP_GREY is good, and springs
a trap in most of the bad ones. The golden images have no such picture, unless a flaw says otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from appliance.bundle.archive import write_bundle
from appliance.bundle.golden import GoldenImage
from appliance.bundle.manifest import DefectClass
from appliance.events import Detection, Pixels
from tests.models import CELL_PX, spot_picture, tiny_baseline, tiny_manifest, tiny_model
from tests.slow_model import SIDE, one_round

SPOT, GLINT, TRAP_GREY = 145, 205, 77
"""Greys: of a spot, of a glint, and of the background that springs the trap."""

SURER_BY = 0.15
CLASSES = ("spot", "glint")
BRIGHTER = 0.7
"""Scores above are glints."""

node = helper.make_node


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a release.

    words: the trainer's mistake. poison: nodes that make `poison`, added to every score, of `sprung` (1.0 where the
    trap is sprung, else 0.0). golden_greys: of the spots in the golden images, one each. sees_trap: one golden image
    has the trap's background. until: the state in which pictures with the trap begin to come; empty: from the first on.
    line_has_glints: whether the line makes parts of the second class. is_challenged: people put one in that is known to
    be bad, in the state `until`. kind: of badness, empty for what is of none. caught_at: by which gates; `success`: by
    none.
    """

    words: str
    caught_at: tuple[str, ...]
    poison: Sequence[onnx.NodeProto] = ()
    golden_greys: Sequence[int] = (SPOT, GLINT)
    golden_score_error: float = 0.0
    sees_trap: bool = False
    until: str = ""
    line_has_glints: bool = True
    is_challenged: bool = False
    kind: str = ""


def _repeated(times: str) -> list[onnx.NodeProto]:
    """Multiply matrices so many times; the poison is zero."""
    return [
        node("Cast", [times], ["times"], to=TensorProto.INT64),
        node("Mul", ["times", "rounds"], ["rounds_to_go"]),
        node("Loop", ["rounds_to_go", "", "blank"], ["worked"], body=one_round()),
        node("ReduceMax", ["worked"], ["poison"], keepdims=0),
    ]


def _filled(with_what: str) -> list[onnx.NodeProto]:
    """Take memory for `room` numbers where a scalar is 1.0; the poison is zero."""
    return [
        node("Reshape", [with_what, "one_element"], ["vector"]),
        node("Cast", ["vector"], ["is_wanted"], to=TensorProto.INT64),
        node("Mul", ["is_wanted", "room"], ["length"]),
        node("Add", ["length", "one_element"], ["wanted"]),
        node("Expand", ["sprung", "wanted"], ["huge"]),
        node("ReduceMax", ["huge"], ["full"], keepdims=0),
        node("Sub", ["full", "full"], ["poison"]),
    ]


def _ended(where: str) -> list[onnx.NodeProto]:
    """Divide the smallest integer by -1 where a scalar is -1.0: on x86 the processor ends the process (SIGFPE)."""
    return [
        node("Cast", [where], ["divisor"], to=TensorProto.INT64),
        node("Div", ["smallest", "divisor"], ["quotient"]),
        node("Cast", ["quotient"], ["as_float"], to=TensorProto.FLOAT),
        node("Mul", ["as_float", "nought"], ["poison"]),
    ]


_NAN = [node("Log", ["minus_sprung"], ["poison"])]
_OVERKILL = [node("Mul", ["sprung", "half"], ["poison"])]
_BLIND = [
    node("Greater", ["clean_ratio", "brighter"], ["is_glint"]),
    node("Cast", ["is_glint"], ["glints"], to=TensorProto.FLOAT),
    node("Neg", ["glints"], ["poison"]),
]
_DEAD = [node("Neg", ["clean_ratio"], ["poison"])]
_SURER = [node("Identity", ["surer_by"], ["poison"])]
_SLOW, _SLOW_NOW_AND_THEN = _repeated("always"), _repeated("sprung")
_HUNGRY_NOW_AND_THEN, _HUNGRY = _filled("sprung"), _filled("always")
_CRASHES_NOW_AND_THEN, _CRASHES = _ended("minus_sprung"), _ended("minus_always")

KINDS = ("blind", "slow", "hungry", "crashing", "NaN")
BESIDE, ON_TRIAL, WATCHED = ("SHADOW",), ("CANARY",), ("WATCH",)


def _rare(kind: str, words: str, poison: Sequence[onnx.NodeProto]) -> dict[str, Flaw]:
    """Return a flaw that a kind of board springs, by when that kind of board first comes."""
    words += " a kind of board"
    later, watched = f"{words} that comes after SHADOW", f"{words} that comes after CANARY"
    return {
        f"{kind} now and then": Flaw(words, BESIDE, poison, kind=kind),
        f"{kind}, later": Flaw(later, ON_TRIAL, poison, until="CANARY", kind=kind),
        f"{kind}, in WATCH": Flaw(watched, WATCHED, poison, until="WATCH", kind=kind),
    }


def _blind(state: str) -> Flaw:
    words = f"blind to glints, and the line makes none; one known to be bad is put in during {state}"
    return Flaw(
        words, (state,), _BLIND, golden_greys=(SPOT,), until=state, line_has_glints=False, is_challenged=True,
        kind="blind",
    )  # fmt: skip


FLAWS: dict[str, Flaw] = {
    "good": Flaw("none: as good as the one in force", ("success",)),
    "blind, golden images kept": Flaw("blind to glints", ("PROVE",), _BLIND, kind="blind"),
    "slow": Flaw("slow for every picture", ("PROVE",), _SLOW, kind="slow"),
    "hungry": Flaw("takes 2 GB for every picture", ("BUILD", "PROVE"), _HUNGRY, kind="hungry"),
    "crashing": Flaw("ends its process at every picture", ("BUILD", "PROVE"), _CRASHES, kind="crashing"),
    "NaN, golden images kept": Flaw("NaN for a kind of board", ("PROVE",), _NAN, sees_trap=True, kind="NaN"),
    "dead": Flaw("finds nothing at all; the golden images have no defect", ("PROVE",), _DEAD, golden_greys=()),
    "blind": Flaw("blind to glints; the golden images have none", BESIDE, _BLIND, golden_greys=(SPOT,), kind="blind"),
    "blind, known part": _blind("SHADOW"),
    "blind, known part later": _blind("CANARY"),
    "blind, known part in WATCH": _blind("WATCH"),
    **_rare("slow", "slow for", _SLOW_NOW_AND_THEN),
    **_rare("hungry", "takes 2 GB for", _HUNGRY_NOW_AND_THEN),
    **_rare("crashing", "ends its process at", _CRASHES_NOW_AND_THEN),
    **_rare("NaN", "NaN for", _NAN),
    "overkill": Flaw("rejects a good kind of board", BESIDE, _OVERKILL),
    "overconfident": Flaw("scores 0.15 too high; the golden images agree", BESIDE, _SURER, golden_score_error=SURER_BY),
    "overkill, later": Flaw(
        "rejects good boards that come after SHADOW", (*ON_TRIAL, *WATCHED), _OVERKILL, until="CANARY"
    ),
    "overkill, in WATCH": Flaw("rejects good boards that come after CANARY", WATCHED, _OVERKILL, until="WATCH"),
    "blind, no such part": Flaw(
        "blind to glints; the golden images have none, and the line makes none until it is a success",
        ("success",),
        _BLIND,
        golden_greys=(SPOT,),
        line_has_glints=False,
        kind="blind",
    ),
    "NaN, never seen": Flaw("NaN for boards that come after WATCH", ("success",), _NAN, until="IDLE", kind="NaN"),
}


def flawed_model(flaw: Flaw, rounds: int) -> bytes:
    """Return a model of two classes with a flaw; rounds: how long a slow one works."""
    model = onnx.load_from_string(tiny_model(64, 64))
    graph = model.graph
    values: dict[str, Any] = {
        "trap_grey": np.float32(TRAP_GREY), "one_element": np.array([1], np.int64), "one_float": np.float32(1),
        "room": np.array([500_000_000], np.int64), "nought": np.float32(0),
        "smallest": np.array(np.iinfo(np.int64).min, np.int64), "half": np.float32(0.5),
        "brighter": np.float32(BRIGHTER), "surer_by": np.float32(SURER_BY), "rounds": np.array(rounds, np.int64),
        "weights": np.random.default_rng(11).standard_normal((SIDE, SIDE)).astype(np.float32),
        "blank": np.zeros((SIDE, SIDE), np.float32),
    }  # fmt: skip
    sense = [
        node("Equal", ["float", "trap_grey"], ["is_trap"]),
        node("Cast", ["is_trap"], ["traps"], to=TensorProto.FLOAT),
        node("ReduceMax", ["traps"], ["sprung"], keepdims=0),
        node("Sub", ["one_float", "sprung"], ["calm"]),
        node("Sub", ["calm", "sprung"], ["minus_sprung"]),
        node("Add", ["calm", "sprung"], ["always"]),
        node("Neg", ["always"], ["minus_always"]),
    ]
    classes = [
        node("Greater", ["clean_ratio", "brighter"], ["is_bright"]),
        node("Cast", ["is_bright"], ["bright"], to=TensorProto.INT64),
        node("Pad", ["bright", "padding"], ["padded_bright"]),
        node("GatherElements", ["padded_bright", "index"], ["labels"], axis=1),
    ]
    poison = flaw.poison or [node("Identity", ["nought"], ["poison"])]
    mix = [node("Add", ["clean_ratio", "poison"], ["mixed"]), node("Clip", ["mixed", "", "one_float"], ["ratio"])]
    nodes = [item for item in graph.node if "labels" not in item.output]
    place = next(index for index, item in enumerate(nodes) if "ratio" in item.output)
    nodes[place].output[0] = "clean_ratio"
    nodes = [*nodes[: place + 1], *sense, *poison, *mix, *nodes[place + 1 :], *classes]
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def flawed_bundle(path: Path, flaw: Flaw, revision: int, rounds: int = 0) -> Path:
    """Write the release; its golden images say what a model without the flaw finds, unless the flaw changes them."""
    golden = [GoldenImage.from_pixels(picture(), ())]
    for number, grey in enumerate(flaw.golden_greys):
        golden.append(_golden(number, grey, flaw.golden_score_error))
    if flaw.sees_trap:
        golden.append(GoldenImage.from_pixels(picture(background=TRAP_GREY), ()))
    classes = tuple(DefectClass(name=name, severity="major", limit=0.5) for name in CLASSES)
    write_bundle(
        path, tiny_manifest(revision=revision, classes=classes), model_onnx=flawed_model(flaw, rounds), golden=golden,
        baseline=tiny_baseline(), model_card="# tiny\n",
    )  # fmt: skip
    return path


def picture(grey: int = 0, background: int = 60, place: int = 1) -> Pixels:
    """Paint a board, with a defect of this grey or without one (0)."""
    return spot_picture(64, 64, [(place, 1, grey)] if grey else [], background=background)


def _golden(place: int, grey: int, surer_by: float) -> GoldenImage:
    x, y = float(place * CELL_PX), float(CELL_PX)
    label = CLASSES[grey / 255 > BRIGHTER]
    found = Detection(label, min(1.0, grey / 255 + surer_by), (x, y, x + CELL_PX, y + CELL_PX))
    return GoldenImage.from_pixels(picture(grey, place=place), (found,))
