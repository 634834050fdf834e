"""What leaves the graph: the best pairs of place and class."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.candidates import pick


def picked(logits: torch.Tensor, count: int) -> list[tuple[float, int, int, int]]:
    """Return logit, label, row and column of each candidate."""
    top, cells, labels = (out[0].tolist() for out in pick(logits, count))
    return [(t, n, *divmod(cell, logits.shape[3])) for t, cell, n in zip(top, cells, labels, strict=True)]


def test_a_place_that_may_be_either_of_two_classes_is_told_with_both_names() -> None:
    logits = torch.full((1, 3, 6, 8), -9.0)
    logits[0, 0, 2, 5], logits[0, 2, 2, 5] = 1.0, 0.5
    assert picked(logits, 2) == [(1.0, 0, 2, 5), (0.5, 2, 2, 5)]


def test_a_sure_defect_does_not_crowd_out_an_unsure_one() -> None:
    logits = torch.full((1, 2, 12, 12), -9.0)
    logits[0, 0, 2:5, 2:5], logits[0, 0, 3, 3] = 3.0, 4.0
    logits[0, 1, 9, 9] = -2.0
    assert picked(logits, 2) == [(4.0, 0, 3, 3), (-2.0, 1, 9, 9)]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 5), rows=st.integers(3, 9), columns=st.integers(3, 9))
def test_candidates_are_the_best_of_their_class_around_them_and_fall(
    seed: int, classes: int, rows: int, columns: int
) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, classes, rows, columns)).astype(np.float32))
    top, cells, labels = pick(logits, classes * rows * columns)
    assert (top[:, 1:] <= top[:, :-1]).all()
    for number in range(2):
        found = {
            (int(n), *divmod(int(cell), columns))
            for t, cell, n in zip(top[number], cells[number], labels[number], strict=True)
            if t > -1e3
        }
        padded = np.pad(logits[number].numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        around = np.lib.stride_tricks.sliding_window_view(padded, (1, 3, 3)).max(axis=(3, 4, 5))
        assert found == {tuple(place) for place in np.argwhere(logits[number].numpy() >= around).tolist()}
