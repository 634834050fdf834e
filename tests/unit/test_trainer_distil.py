"""A net moves towards its teacher where that is sure, and elsewhere hardly at all."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.distil import SURE, Lesson, distillation_loss
from trainer.loss import BOX_WEIGHT
from trainer.model import cell_centres, decode_boxes

NOTHING = -20.0
"""A logit whose score is 0 for all that counts."""

Answer = tuple[Tensor, Tensor]


def _answer(near: float, far: float = NOTHING, reach: float = 1.0) -> Answer:
    """Two classes on 4 x 4 cells: the second class at cell (1, 2) with a box of that reach, in cells, to all sides."""
    logits = torch.full((1, 2, 4, 4), far)
    logits[0, 1, 1, 2] = near
    return logits, torch.full((1, 4, 4, 4), math.log(reach))


def _lesson(own: Answer, taught: Answer, owned: int = 1) -> Lesson:
    return distillation_loss(*own, *taught, owned=owned)


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def test_a_lesson_of_one_cell_is_what_a_hand_computes() -> None:
    lesson = _lesson(_answer(near=0.0, reach=2.0), _answer(near=_logit(0.8), reach=1.0), owned=3)
    assert lesson.cells == 3 + 1
    assert float(lesson.score) == pytest.approx(0.3**2 * math.log(2) / 4, rel=1e-4)
    assert float(lesson.box) == pytest.approx(0.8 * (1 - 1 / 4) / 4, rel=1e-4)  # 16 x 16 in the middle of 32 x 32
    assert float(lesson.total) == pytest.approx(float(lesson.score + BOX_WEIGHT * lesson.box))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), bias=st.floats(-4, 4))
def test_who_answers_as_the_teacher_has_nothing_to_learn(seed: int, bias: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 4, generator=generator) + bias
    distances = torch.randn(2, 4, 4, 4, generator=generator)
    own = logits.clone().requires_grad_(), distances.clone().requires_grad_()
    lesson = _lesson(own, (logits, distances))
    lesson.total.backward()  # type: ignore[no-untyped-call]
    assert float(lesson.total.detach()) == pytest.approx(0.0, abs=1e-5)
    assert own[0].grad is not None
    assert own[0].grad.abs().max() < 1e-6


@settings(max_examples=50, deadline=None)
@given(own=st.floats(-8, 8), taught=st.floats(-8, 8))
def test_each_score_is_pulled_towards_the_teachers(own: float, taught: float) -> None:
    logits, distances = _answer(near=own)
    logits.requires_grad_()
    _lesson((logits, distances), _answer(near=taught)).score.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    pull = float(logits.grad[0, 1, 1, 2])
    if abs(own - taught) > 0.1:
        assert pull * (own - taught) > 0
    else:
        assert abs(pull) < 1e-2


def test_cells_where_both_see_next_to_nothing_count_little() -> None:
    taught = _answer(near=_logit(0.9), far=_logit(0.01))
    near = _lesson(_answer(near=_logit(0.4), far=_logit(0.01)), taught)
    far = _lesson(_answer(near=_logit(0.9), far=_logit(0.03)), taught)
    assert far.score > 0
    assert near.score > 1000 * far.score / 31  # 31 answers are far from anything, one is near


def test_what_only_the_learner_sees_costs_as_much_as_what_it_misses() -> None:
    sees, misses = _answer(near=_logit(0.9)), _answer(near=_logit(0.1))
    imagined, missed = _lesson(sees, misses), _lesson(misses, sees)
    assert float(imagined.score) * imagined.cells == pytest.approx(float(missed.score) * missed.cells, rel=1e-4)
    assert imagined.box == 0  # of nothing there is no box


def test_a_box_moves_to_the_teachers_where_that_is_sure_and_nowhere_else() -> None:
    for near, is_taught in ((_logit(SURE + 0.1), True), (_logit(SURE - 0.1), False)):
        logits, distances = _answer(near, reach=3.0)
        distances.requires_grad_()
        _lesson((logits, distances), _answer(near, reach=1.0)).total.backward()  # type: ignore[no-untyped-call]
        assert distances.grad is not None
        assert (distances.grad[0, :, 1, 2] > 0).all() == is_taught
        elsewhere = distances.grad.clone()
        elsewhere[0, :, 1, 2] = 0
        assert not elsewhere.any()


def test_a_few_steps_bring_an_answer_to_the_teachers() -> None:
    taught = _answer(near=_logit(0.9), reach=1.5)
    logits, distances = (each.requires_grad_() for each in _answer(near=-3.0, far=-3.0, reach=0.5))
    optimizer = torch.optim.Adam([logits, distances], lr=0.2)
    for _ in range(100):
        optimizer.zero_grad()
        _lesson((logits, distances), taught).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    scores = logits.detach().sigmoid()[0]
    assert float(scores[1, 1, 2]) == pytest.approx(0.9, abs=0.1)
    assert float(scores[0].max()) < 0.05
    centre = cell_centres(32, 32)[4 + 2]
    found, wanted = (decode_boxes(each.detach()[0, :, 1, 2], centre) for each in (distances, taught[1]))
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1.0)


def test_a_batch_in_which_the_teacher_sees_nothing_has_gradients_and_no_box() -> None:
    logits, distances = (each.requires_grad_() for each in _answer(near=2.0))
    lesson = _lesson((logits, distances), _answer(near=NOTHING))
    lesson.total.backward()  # type: ignore[no-untyped-call]
    assert (lesson.cells, float(lesson.box.detach())) == (1, 0.0)
    assert logits.grad is not None
    assert distances.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert not distances.grad.any()
