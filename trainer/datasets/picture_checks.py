"""What can be wrong with the pictures themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.reference_checks import check_references, damaged_references

FLAT_SPREAD = 1.0
"""Standard deviation in grey values below which a picture shows nothing."""

OUTLIER_Z = 3.5
"""Robust z-score above which a brightness is an outlier.

Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993), chapter 3.
"""

LEAST_RANGE = 0.25
"""Of what a pixel holds: 16-bit pictures that all stay below were stored by a camera of 14 bits or fewer."""

MOST_KINDS = 8
"""So many sizes, or channels and depths, are listed one by one."""

HARMLESS_SPREAD = 5.0
"""Standard deviation of the brightness in grey values that a training takes anyway: steadier light counts as this."""


def check_pictures(examined: Examined) -> Iterator[Finding]:
    """Look for damage, mixtures, empty pictures and odd light.

    Args:
        examined: all pictures.

    Yields:
        One finding per check, also where all is well.
    """
    yield from _check_files(examined)
    yield from _check_values(examined)


def _check_files(examined: Examined) -> Iterator[Finding]:
    damaged = [Case((at,), words) for at, words in enumerate(examined.facts) if isinstance(words, str)]
    damaged += damaged_references(examined)
    yield Finding(
        "unreadable pictures",
        True,
        "a picture that is damaged or ends too early stops the training, or is learned with a grey patch in it",
        "restore the file, or take it off the list",
        tuple(damaged),
    )
    yield check_references(examined)
    sound = examined.sound()
    sizes: dict[str, list[int]] = defaultdict(list)
    kinds: dict[str, list[int]] = defaultdict(list)
    for at, _, facts in sound:
        sizes["{} x {} pixels".format(*facts.size)].append(at)
        kinds[facts.kind].append(at)
    yield Finding(
        "mixed sizes",
        False,
        "the model's input is as large as the largest, smaller ones are filled up; boxes of one defect differ in size "
        "if the cameras do",
        "make sure that they come from the same optics",
        _mixture(sizes),
    )
    yield Finding(
        "turned pictures",
        False,
        "a note in the file (EXIF) has it shown otherwise than it is stored, to the model, too; tools that ignore the "
        "note draw boxes on what is stored",
        "look whether its boxes fit below, or save it as it is shown",
        tuple(Case((at,), "is shown otherwise than it is stored") for at, _, facts in sound if facts.is_turned),
    )
    yield Finding(
        "mixed channels or depths",
        False,
        "all are brought to 8 bit and to the model's channels; a difference often means two cameras or a conversion",
        "export them from one source in one way",
        _mixture(kinds),
    )


def _check_values(examined: Examined) -> Iterator[Finding]:
    yield Finding(
        "bits without use",
        False,
        "of 16 bits the upper 8 are taken, so a camera's 10 or 12 bits in the lower end become nearly black",
        "export them with 8 bits, or with the camera's bits moved up",
        _dim(examined),
    )
    flat = [
        Case((at,), f"grey values spread by {facts.spread:.1f}")
        for at, _, facts in examined.sound()
        if facts.spread < FLAT_SPREAD
    ]
    yield Finding(
        "empty pictures",
        False,
        "a picture of one grey teaches nothing: lamp off, cap on, no part",
        "take it off the list, or record it again",
        tuple(flat),
    )
    yield Finding(
        "brightness outliers",
        False,
        f"the light differs from all the others' (robust z-score above {OUTLIER_Z})",
        "look at the lamp and the exposure; keep it only if the line will see such pictures",
        _bright_or_dark(examined),
    )


def _dim(examined: Examined) -> tuple[Case, ...]:
    deep = [(at, facts.brightest) for at, _, facts in examined.sound() if facts.kind.endswith("16 bit")]
    brightest = max((share for _, share in deep), default=1.0)
    if brightest > LEAST_RANGE:
        return ()
    words = f"none of {len(deep)} pictures of 16 bits goes above {100 * brightest:.1f} % of their range"
    return (Case(tuple(at for at, _ in deep), words),)


def _mixture(found: dict[str, list[int]]) -> tuple[Case, ...]:
    """Return a case for each kind, the rarest first; of many those that are not among the most frequent are one."""
    if len(found) < 2:
        return ()
    by_count = sorted(found.items(), key=lambda item: len(item[1]))
    rare, frequent = by_count[:-MOST_KINDS], by_count[-MOST_KINDS:]
    listed = tuple(Case(tuple(members), f"{len(members)} pictures of {name}") for name, members in frequent)
    if not rare:
        return listed
    others = tuple(at for _, members in rare for at in members)
    words = f"{len(others)} pictures of {len(rare)} kinds more, none more frequent than those below"
    return (Case(others, words), *listed)


def _bright_or_dark(examined: Examined) -> tuple[Case, ...]:
    sound = examined.sound()
    if not sound:
        return ()
    values = np.array([facts.brightness for _, _, facts in sound])
    middle = float(np.median(values))
    spread = max(float(np.median(np.abs(values - middle))) / 0.6745, HARMLESS_SPREAD)
    scores = (values - middle) / spread
    found = [
        (abs(score), Case((at,), f"mean {facts.brightness:.0f}, the median is {middle:.0f} (z {score:+.1f})"))
        for score, (at, _, facts) in zip(scores.tolist(), sound, strict=True)
        if abs(score) > OUTLIER_Z
    ]
    return tuple(case for _, case in sorted(found, key=lambda item: -item[0]))
