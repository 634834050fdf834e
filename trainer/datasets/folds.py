"""Several splits of one data set, so that every picture is held out once: whole groups, and copies together."""

from __future__ import annotations

import random
from collections import Counter

from appliance.errors import ConfigError
from trainer.datasets.leakage import copies_across_groups
from trainer.datasets.sample import Dataset
from trainer.datasets.split import Split, split_by_group, tied_groups
from trainer.names import listed


def folds_of(dataset: Dataset, wanted: int, seed: int = 0) -> tuple[Split, ...]:
    """Divide by groups; groups that show the same part, as a copy or nearly one, are never divided.

    Args:
        dataset: what was read.
        wanted: number of folds, at least 2.
        seed: of the draw.

    Returns:
        So many splits; each picture is in the validation half of exactly one.

    Raises:
        ConfigError: Fewer groups than folds, or a fold would have no defect on one side.
    """
    if wanted < 2:
        raise ConfigError(f"--folds {wanted}: must be at least 2")
    ties = [(one.group, other.group) for one, other in copies_across_groups(dataset)]
    clusters = [sorted(tied) for tied in tied_groups(dataset.groups(), ties)]
    if len(clusters) < wanted:
        raise ConfigError(
            f"--folds {wanted}: the groups make {len(clusters)} that can be told apart (copies count as one); "
            "ask for fewer folds, or name smaller groups"
        )
    bad = Counter(sample.group for sample in dataset.samples if not sample.is_good)
    size = Counter(sample.group for sample in dataset.samples)
    random.Random(seed).shuffle(clusters)
    clusters.sort(key=lambda cluster: -sum(size[name] for name in cluster))  # stable: equals stay shuffled
    held: list[list[str]] = [[] for _ in range(wanted)]
    weights = [(0, 0)] * wanted
    for cluster in clusters:
        pictures, its_bad = (sum(counts[name] for name in cluster) for counts in (size, bad))
        sign = 1 if its_bad else -1
        lightest = min(range(wanted), key=lambda at: (weights[at][0], weights[at][1] * sign))
        held[lightest] += cluster
        weights[lightest] = weights[lightest][0] + pictures, weights[lightest][1] + its_bad
    for names in held:
        if not sum(bad[name] for name in names):
            raise ConfigError(
                f"--folds {wanted}: the groups {listed(names)} have no defect to be judged on; ask for fewer folds"
            )
    return tuple(split_by_group(dataset, tuple(names)) for names in held)
