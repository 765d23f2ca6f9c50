"""`tune`: what is found is written with how to run it, and `packlight.runtimes.open` obeys it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import packlight
import packlight.runtimes
from packlight import tuning
from packlight.errors import BadInput
from packlight.judge import Interval
from packlight.runtimes.onnxruntime import LEVEL, LEVELS, Session
from packlight.runtimes.racing import processors
from packlight.runtimes.tuning import cache, choices, opened, trials
from packlight.runtimes.tuning.answers import Judge
from packlight.runtimes.tuning.choices import Choice, Race
from tests.commands import run
from tests.runtimes.test_forms import made, numbers, padded_conv, rounded_pad
from tests.schemas import conforms

SAME = Interval(1.0, 0.99, 1.01)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path) -> Path:
    """A small network with a layer that can be padded."""
    path = tmp_path / "net.onnx"
    path.write_bytes(padded_conv())
    return path


@pytest.fixture
def made_up(monkeypatch):
    """Races whose times are told by the test: choice -> times as long as the default."""
    raced: list[Choice] = []

    def set_times(time_of, *, same=SAME):
        def race(entered, most, seconds, *, twin=False):
            raced.extend(entered)
            first = time_of(entered[0])
            ratios = [time_of(one) / first for one in entered]
            told = tuple(Interval(r, 0.99 * r, 1.01 * r) for r in ratios)
            return Race(told, same if twin else None, 1.0)

        for module in (tuning, choices, trials):
            monkeypatch.setattr(module, "race", race)

        def load(path):
            raise BadInput("not in this test")

        monkeypatch.setattr(tuning, "load", load)
        return raced

    return set_times


def packed_faster(choice: Choice) -> float:
    """Without prepacking it takes 0.8 of the time."""
    return 0.8 if "session.disable_prepacking" in choice.settings else 1.0


def padded_faster(choice: Choice) -> float:
    return 0.7 if ("padded", "c") in choice.forms else 1.0


def test_a_race_runs_files_with_their_settings(model):
    level = Choice(model, 1).set({LEVEL: "none"})
    broken = Choice(model, 1).set({"session.disable_prepacking": 1})
    told = choices.race([Choice(model, 1), level, broken], 1, 0.05, twin=True)
    first, second, third = told.ratios
    assert first == Interval(1.0, 1.0, 1.0)
    assert 0 < second.low <= second.value <= second.high
    assert third is None  # the setting is no text, so its session refuses it
    assert told.same.low <= told.same.value <= told.same.high
    assert told.milliseconds > 0


def test_the_command_prints_what_it_wrote(model, tmp_path, capsys, made_up):
    made_up(packed_faster)
    assert not run("tune", model, "--threads", 1, "--quiet")
    told = "".join(capsys.readouterr().out.split())
    assert "net-tuned/tuned.json" in told
    assert "1.25xasfastasthedefault" in told
    assert not run("tune", model, "--threads", 1, "--quiet", "--force", "--json")
    record = json.loads(capsys.readouterr().out)
    conforms("tuned", record)
    assert record["verdict"] == "faster"
    assert record["folder"] == str(tmp_path / "net-tuned")


def test_the_faster_settings_are_kept_and_obeyed(model, tmp_path, made_up):
    made_up(packed_faster)
    result = packlight.tune(model, threads=1, out=tmp_path / "out")
    assert result.verdict == "faster"
    assert result.ratio.value == pytest.approx(0.8)
    assert result.record["settings"] == {"session.disable_prepacking": "1"}
    assert result.record["forms"] == []
    used = packlight.runtimes.open(result.folder)._session._session.get_session_options()
    assert used.get_session_config_entry("session.disable_prepacking") == "1"
    assert used.intra_op_num_threads == 1


def test_where_nothing_is_faster_the_default_is_written(model, tmp_path, made_up):
    made_up(lambda choice: 1.0)
    result = packlight.tune(model, threads=1, out=tmp_path / "out")
    assert result.verdict == "unclear"
    assert result.record["settings"] == {}
    assert result.record["forms"] == []
    assert any("nothing that was tried was faster" in note for note in result.notes)
    x = numbers(1, 3, 9, 9)
    np.testing.assert_array_equal(packlight.runtimes.open(result.folder)(x), Session(model)(x))


def test_what_the_last_race_can_not_confirm_is_not_used(model, tmp_path, made_up):
    made_up(packed_faster, same=Interval(1.0, 0.7, 1.4))
    result = packlight.tune(model, threads=1, out=tmp_path / "out")
    assert result.verdict == "unclear"
    assert result.record["settings"] == {}
    assert any("could not be told from the default" in note for note in result.notes)


def test_the_fastest_forms_are_in_the_file_and_trials_are_remembered(model, tmp_path, made_up):
    raced = made_up(padded_faster)
    result = packlight.tune(model, threads=1, out=tmp_path / "out")
    assert result.record["forms"] == [{"form": "padded", "layer": "c"}]
    assert result.file.read_bytes() == trials.with_forms(model.read_bytes(), [("padded", "c")])
    assert result.record["difference"] <= 1e-5
    assert any(one.path.name.startswith("trial") for one in raced)
    raced.clear()
    again = packlight.tune(model, threads=1, out=tmp_path / "out", force=True)
    assert not any(one.path.name.startswith("trial") for one in raced)
    assert again.record["forms"] == result.record["forms"]
    assert any("(cached)" in one["what"] for one in again.record["tried"])


def test_weights_that_are_inputs_are_made_constant(tmp_path, made_up):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    path = tmp_path / "listed.onnx"
    path.write_bytes(made(nodes, {"w": numbers(4, 3, 3, 3)}, listed=True))
    made_up(lambda choice: 0.5 if choice.forms else 1.0)
    result = packlight.tune(path, threads=1)
    assert result.record["forms"] == [{"form": choices.CONSTANT, "layer": "all"}]
    assert [one.name for one in onnx.load(result.file).graph.input] == ["x"]
    assert any("weights are no longer inputs" in note for note in result.notes)


def test_a_fits_folder_is_taken(model, tmp_path, made_up):
    (tmp_path / "small").mkdir()
    model.rename(tmp_path / "small" / "model.onnx")
    made_up(lambda choice: 1.0)
    assert packlight.tune(tmp_path / "small", threads=1).folder == tmp_path / "small-tuned"


def test_an_interruption_leaves_nothing(model, tmp_path, made_up):
    def interrupted(choice):
        raise KeyboardInterrupt

    made_up(interrupted)
    before = sorted(tmp_path.rglob("*"))
    assert run("tune", model, "--threads", 1, "--quiet") == 130
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": 1}', '{"key": {"a": 1}, "ratio": 3}'])
def test_a_damaged_cache_is_not_there(damage):
    key = {"a": 1}
    cache.keep(key, SAME)
    assert cache.recall(key) == SAME
    (file,) = cache.folder().iterdir()
    file.write_text(damage)
    assert cache.recall(key) is None


def test_a_cache_that_can_not_be_written_costs_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache.keep({"a": 1}, SAME)
    assert cache.recall({"a": 1}) is None


def test_halving_finds_the_fastest(monkeypatch):
    times = [5, 3, 9, 1, 7, 2, 4]
    entered = [Choice(Path(f"{time}.onnx"), 1) for time in times]

    def race(raced, most, seconds, *, twin=False):
        ratios = [int(one.path.stem) / 5 for one in raced]
        return Race(tuple(Interval(r, r, r) for r in ratios), None, 5.0)

    monkeypatch.setattr(choices, "race", race)
    order = [int(one.path.stem) for one, _ in choices.best_of(entered, 1, 1.0)]
    assert order[0] == 1
    assert sorted(order) == sorted(times)


def test_other_answers_are_refused(tmp_path):
    for name, bias in (("one", True), ("two", False)):
        (tmp_path / f"{name}.onnx").write_bytes(padded_conv(bias=bias))
    judge = Judge(Choice(tmp_path / "one.onnx", 1))
    assert judge.difference(Choice(tmp_path / "one.onnx", 1)) <= 1e-5
    with pytest.raises(BadInput, match="differ by"):
        judge.difference(Choice(tmp_path / "two.onnx", 1))


def test_rounded_networks_may_differ_as_the_default_does(tmp_path):
    path = tmp_path / "rounded.onnx"
    path.write_bytes(rounded_pad())
    judge = Judge(Choice(path, 1))
    in_float = Choice(path, 1, {"session.disable_quant_qdq": "1"})
    assert judge.difference(in_float) <= max(1e-5, judge.default_difference)


def test_settings_reach_the_runtime(model):
    for level in LEVELS:
        session = Session(model, settings={LEVEL: level}, threads=1)
        assert session._session.get_session_options().graph_optimization_level == LEVELS[level]


@pytest.mark.parametrize("settings", [{LEVEL: "most"}, {"speed": "1"}, {"session.x": 1}])
def test_settings_that_there_are_not_are_refused(model, settings):
    with pytest.raises(BadInput, match="is no setting of onnxruntime"):
        Session(model, settings=settings)


def test_litert_runs_its_own_kernels_when_told(tmp_path):
    litert = pytest.importorskip("ai_edge_litert", reason="needs packlight[litert]") and (
        pytest.importorskip("packlight.runtimes.litert")
    )
    from tests.networks import images, plain

    data = litert.to_bytes(plain())
    x = images(1).numpy()
    quick, own = litert.Session(data), litert.Session(data, settings={"xnnpack": False})
    np.testing.assert_allclose(quick(x)[0], own(x)[0], rtol=1e-4, atol=1e-4)
    assert any(
        "DELEGATE" in one["op_name"].upper() for one in quick._interpreter._get_ops_details()
    )
    assert not any(
        "DELEGATE" in one["op_name"].upper() for one in own._interpreter._get_ops_details()
    )
    with pytest.raises(BadInput, match="is no setting of LiteRT"):
        litert.Session(data, settings={"gpu": True})


@pytest.fixture
def tuned(model, tmp_path, made_up) -> Path:
    made_up(packed_faster)
    return packlight.tune(model, threads=1, out=tmp_path / "out").folder


def test_a_file_that_was_changed_is_not_opened(tuned):
    (tuned / "tuned.onnx").write_bytes(padded_conv(bias=False))
    with pytest.raises(BadInput, match=r"is not the file that tuned\.json was made for"):
        packlight.runtimes.open(tuned)


def test_another_processor_is_told(tuned, monkeypatch):
    monkeypatch.setattr(opened, "processor", lambda: "another")
    with pytest.warns(UserWarning, match="this is another"):
        session = packlight.runtimes.open(tuned / "tuned.json")
    assert not session.same_processor
    assert session.record["verdict"] == "faster"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": "../net.onnx"}, "no file beside it"),
        ({"file": "absent.onnx"}, "not beside it"),
        ({"runtime": "litert"}, "no file beside it"),
        ({"settings": {"session.save_model": "x"}}, "which tune never does"),
        ({"threads": 0}, "asks for 0 threads"),
        ({"threads": True}, "damaged"),
        ({"sha256": None}, "damaged"),
    ],
)
def test_a_record_that_tune_did_not_write_is_refused(tuned, change, words):
    record = json.loads((tuned / "tuned.json").read_bytes())
    conforms("tuned", record)
    (tuned / "tuned.json").write_text(json.dumps(record | change))
    with pytest.raises(BadInput, match=words):
        packlight.runtimes.open(tuned)


def test_what_is_no_record_is_told(tmp_path, tuned):
    with pytest.raises(BadInput, match="can not be read"):
        packlight.runtimes.open(tmp_path)
    (tuned / "tuned.json").write_text("[")
    with pytest.raises(BadInput, match="is damaged"):
        packlight.runtimes.open(tuned)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.onnx"], "absent.onnx does not exist"),
        (["data.npz"], "data.npz can not be run here"),
        (["photo.onnx"], "is a JPEG image"),
        (["folder"], "it holds no model.onnx"),
        (["open.onnx"], "of open.onnx is open; fix it in the file"),
        (["net.onnx", "-o", "full"], "is not empty"),
        (["net.onnx", "-o", "full", "--force"], "more than an earlier tune wrote"),
        (["net.onnx", "-o", "photo.onnx"], "is a file"),
        (["net.onnx", "-o", "no/where"], "is no folder"),
        (["net.onnx", "--threads", "5000"], "5000 threads"),
        (["net.onnx", "--seconds", "0"], "0.0 seconds"),
        (["net.onnx", "--to", "coreml"], "coreml can not be tuned here"),
        (["net.ort"], "give the .onnx that it was made from"),
        (["net.tflite", "--to", "onnx"], "with an ONNX file only"),
    ],
)
def test_careless_commands_are_answered_in_one_sentence(
    model, tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    Path("photo.onnx").write_bytes(b"\xff\xd8\xff\xe0" * 100)
    Path("data.npz").write_bytes(b"")
    for name in ("net.tflite", "net.ort"):
        Path(name).write_bytes(b"")
    Path("open.onnx").write_bytes(_open_size())
    Path("folder").mkdir()
    Path("full").mkdir()
    Path("full", "precious").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert run("tune", *arguments, "--quiet") == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def _open_size() -> bytes:
    return made([helper.make_node("Relu", ["x"], ["y"])], {}, ("n", 3, "h", "w"))


def test_threads_are_bound_by_what_there_is():
    with pytest.raises(BadInput, match="threads are not possible here"):
        processors(0)
