"""appliance check, asked about the light: the recipe's limits beside what the trainer saw the model bear."""

import json
from pathlib import Path

import pytest
import yaml

from appliance.__main__ import main
from tests.models import tiny_bundle, tiny_manifest
from tests.plant import RECIPE, write_station

BORNE = {"bears_darker_percent": 50.0, "bears_brighter_percent": 100.0}
"""On a baseline of 60: 30 to 120."""


@pytest.mark.parametrize(
    ("borne", "limits", "says"),
    [
        (BORNE, (30.0, 120.0), ["brightness 30 to 120 is inspected; the model was seen to bear 30 to 120", ""]),
        (BORNE, (29.0, 120.0), ["brightness 29 to 120 is inspected; the model was seen to bear 30 to 120", "narrow"]),
        (BORNE, (30.0, 121.0), ["brightness 30 to 121 is inspected; the model was seen to bear 30 to 120", "narrow"]),
        ({}, (1.0, 254.0), []),
    ],
)
def test_limits_wider_than_what_the_model_bears_are_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    borne: dict[str, float],
    limits: tuple[float, float],
    says: list[str],
) -> None:
    lineage = tiny_manifest().lineage.model_copy(update={"metrics": borne})
    tiny_bundle(tmp_path / "tiny.bundle", lineage=lineage)
    config = write_station(tmp_path)
    (view,) = RECIPE["views"]
    wide = dict(zip(("brightness_min", "brightness_max"), limits, strict=True))
    views = [view | {"image_limits": view["image_limits"] | wide}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"views": views}))
    main(["check", "--config", str(config), "--software", "--json"])
    found = [entry for entry in json.loads(capsys.readouterr().out) if entry["what"] == "light of top"]
    assert [entry["is_ok"] for entry in found] == [True] * bool(says)
    for entry in found:
        assert entry["seen"] == says[0]
        assert says[1] in entry["remedy"]
        assert bool(entry["remedy"]) == bool(says[1])
