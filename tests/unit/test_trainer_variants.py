"""Which of several models of another precision a bundle gets, and why it gets none."""

from dataclasses import replace

import pytest

from tests.models import tiny_variant
from trainer.metrics import Parts
from trainer.variants import Made, Variants, how_worse

WHOLE = Made(b"whole", tiny_variant())
LACKING = replace(WHOLE, is_lacking=True)
WORSE = replace(WHOLE, worse="bad parts accepted rise from 1 to 2 of 9")
COSTLY = replace(WHOLE, variant=WHOLE.variant.model_copy(update={"ap_drop": 0.0031, "kept_float": ("head",)}))
NOT_RUN = "it does not run here"


@pytest.mark.parametrize(
    ("attempts", "taken"),
    [
        ((LACKING, WHOLE), WHOLE),
        ((NOT_RUN, COSTLY, WORSE, WHOLE, LACKING), WHOLE),
        ((WORSE, LACKING, replace(LACKING, model_onnx=b"later"), NOT_RUN), LACKING),
    ],
)
def test_a_model_that_reproduces_all_golden_images_is_taken_before_one_that_does_not(
    attempts: tuple[Made | str, ...], taken: Made
) -> None:
    chosen = Variants()
    chosen.take("int8", attempts)
    assert chosen.made == {"int8": taken}
    assert not chosen.refused


@pytest.mark.parametrize(
    ("attempts", "words"),
    [
        ((NOT_RUN, COSTLY), "AP@0.33 falls by 0.0031, of which 0.003 is allowed, even with 1 layers with 32 bits"),
        ((replace(COSTLY, is_lacking=True),), "AP@0.33 falls by 0.0031"),
        ((COSTLY, WORSE), "bad parts accepted rise from 1 to 2 of 9, even with 0 layers with 32 bits"),
        ((WORSE, NOT_RUN), "it does not run here; so the bundle holds no int8 model"),
    ],
)
def test_where_no_model_does_the_last_reason_is_told(attempts: tuple[Made | str, ...], words: str) -> None:
    chosen = Variants()
    chosen.take("int8", attempts)
    assert chosen.made == {}
    assert words in chosen.refused["int8"]


def test_no_model_is_made_that_is_not_needed() -> None:
    attempts = iter((WHOLE, COSTLY))
    Variants().take("int8", attempts)
    assert next(attempts) is COSTLY


def test_more_escapes_are_not_made_good_by_less_overkill() -> None:
    before = Parts(bad=9, good=5, escapes=1, overkill=2)
    assert how_worse(before, replace(before, escapes=2, overkill=0)) == "bad parts accepted rise from 1 to 2 of 9"
    assert how_worse(before, replace(before, escapes=0)) == how_worse(before, before) == ""
