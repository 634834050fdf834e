"""The comparison with what a user would install instead: same network, same pictures, nobody's answer changed."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from appliance.bundle.archive import read_bundle
from appliance.bundle.manifest import Precision
from appliance.demo.station import SHIPPED_BUNDLE
from benchmarks.end_to_end import write_pictures
from benchmarks.peers.comparison import Contender, ours, ratios, take_turn, theirs, write_models
from benchmarks.peers.environments import PEERS, SCRIPTS
from benchmarks.peers.models import Answer, rewrap

pytestmark = pytest.mark.long

PICTURES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What everybody is given: pictures and models."""
    folder = tmp_path_factory.mktemp("peers")
    (folder / "pictures").mkdir()
    (folder / "written").mkdir()
    write_pictures(folder / "pictures", PICTURES, "jpg")
    write_models(read_bundle(SHIPPED_BUNDLE), folder / "models")
    return folder


def answers(model: bytes, name: str, picture: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return list(session.run(None, {name: picture}))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_peer_gets_the_same_answers_from_the_network_in_its_form(folder: Path, channels: int) -> None:
    own = read_bundle(SHIPPED_BUNDLE).model_onnx
    greys = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in (folder / "pictures").glob("*.jpg")]
    asked = {number: answers(own, "image", grey[None, :, :, None]) for number, grey in enumerate(greys)}
    worst = max(asked, key=lambda number: float(asked[number][1].max()))
    grey, (boxes, scores, labels) = greys[worst], asked[worst]
    floats = np.repeat((grey.astype(np.float32) / 255)[None, None], channels, axis=1)
    (rows,) = answers(rewrap(own, Answer.ROWS, channels).SerializeToString(), "images", floats)
    clear = scores[0] > 0.3
    assert clear.any()
    np.testing.assert_allclose(rows[0, clear, :4], boxes[0, clear], atol=0.05)
    np.testing.assert_allclose(rows[0, clear, 4], scores[0, clear], atol=1e-3)
    assert (rows[0, clear, 5] == labels[0, clear]).all()
    best, is_bad = answers(rewrap(own, Answer.SCORE, channels).SerializeToString(), "images", floats)
    assert best == pytest.approx(scores.max(), abs=1e-3)
    assert is_bad == (scores.max() >= 0.5)


def test_a_graph_of_another_export_is_not_taken_for_the_contract_s() -> None:
    model = onnx.load_from_string(read_bundle(SHIPPED_BUNDLE).model_onnx)
    (scale,) = (node for node in model.graph.node if node.op_type == "Mul" and "/Transpose_output_0" in node.input)
    scale.op_type = "Div"
    with pytest.raises(ValueError, match="begins with Div where Mul was expected"):
        rewrap(model.SerializeToString(), Answer.ROWS, 1)


@pytest.mark.timeout(300)
def test_our_line_and_a_plain_loop_judge_the_same_pictures_bad(folder: Path) -> None:
    contenders = [ours(SHIPPED_BUNDLE, folder / "pictures")[0], theirs(PEERS[0], Path(sys.executable), folder)]
    for each in contenders:
        take_turn(each, folder)
    assert [each.why_not for each in contenders] == ["", ""]
    assert contenders[0].bad == contenders[1].bad
    assert 0 < sum(contenders[0].bad) < PICTURES == len(contenders[0].bad)
    assert contenders[0].version.startswith("onnxruntime")
    assert ratios(contenders)["plain loop"]["same_runtime"] > 0


def test_a_peer_that_does_not_run_is_told_with_its_own_words(folder: Path) -> None:
    broken = Contender("broken", "none", [sys.executable, "-c", "import no_such_peer"], {})
    take_turn(broken, folder)
    assert broken.figures() == {"runtime": "none", "why_not": "ModuleNotFoundError: No module named 'no_such_peer'"}
    assert ratios([broken]) == {}


def contender(name: str, runtime: str, ms: float, *, is_ours: bool, model: Precision = "f32") -> Contender:
    return Contender(name, runtime, [], {}, is_ours, model, spent_ms=[ms, ms])


def test_our_parts_a_second_are_set_beside_the_peers_with_the_same_model_the_same_runtime_and_the_fastest() -> None:
    contenders = [
        contender("line", "a", 10.0, is_ours=True),
        contender("line, 8 bits", "a", 5.0, is_ours=True, model="int8"),
        contender("line, b", "b", 2.0, is_ours=True, model="int8"),
        contender("one", "a", 20.0, is_ours=False),
        contender("two", "b", 4.0, is_ours=False),
        contender("three", "c", 1.0, is_ours=False),
    ]
    assert ratios(contenders) == {
        "one": {"same_model": 2.0, "same_runtime": 4.0, "fastest": 10.0},
        "two": {"same_runtime": 2.0, "fastest": 2.0},
        "three": {"fastest": 0.5},
    }


def test_no_peer_is_given_our_8_bits_as_its_own_model() -> None:
    models = {each.name: each.model for each in ours(SHIPPED_BUNDLE, Path("pictures"))}
    assert models == {"our line": "f32", "our line, OpenVINO": "f32", "our line, OpenVINO INT8": "int8"}
    assert {theirs(peer, Path(sys.executable), Path("here")).model for peer in PEERS} == {"f32"}


@pytest.mark.parametrize("script", sorted({peer.script for peer in PEERS}))
def test_a_peer_s_script_is_python_that_gives_a_score_for_each_picture(script: str) -> None:
    code = compile((SCRIPTS / script).read_text(), script, "exec")
    assert {"bests", "measuring"} <= set(code.co_names)


def test_a_script_asks_for_a_model_and_pictures() -> None:
    program = "import measuring; measuring.arguments('words')"
    ended = subprocess.run(
        [sys.executable, "-c", program, "--pictures", "here"], cwd=SCRIPTS, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, "required: --model" in ended.stderr) == (2, True)


def test_a_script_tells_the_time_between_results() -> None:
    program = "import measuring; measuring.tell('peer 1', iter([0.2, 0.5]))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    version, *results = map(json.loads, ended.stdout.splitlines())
    assert version == {"version": "peer 1"}
    assert [each["is_bad"] for each in results] == [False, True]
    assert all(0 <= each["ms"] < 1000 for each in results)
