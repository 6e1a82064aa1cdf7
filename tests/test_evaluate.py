"""The judge on a few scenes through the real pipeline: complete, repeatable, and clear about what is wrong."""

import json
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from intensity_model import write_intensity_model
from typer.testing import CliRunner

from appliance.errors import ConfigError, ModelError
from appliance.events.confidence import confidence
from appliance.geometry import load_array
from appliance.lab.baselines.accdoa import AccdoaCrnn, AccdoaSettings
from appliance.lab.baselines.steered_cnn import SteeredCnn, SteeredSettings
from appliance.lab.baselines.trained import trained_baselines
from appliance.lab.baselines.training import save_baseline
from appliance.lab.hear import hear
from appliance.lab.judge.evaluate import FULL, QUICK, Suite, evaluate, judge
from appliance.lab.judge.figures import system_figures
from appliance.lab.judge.perimeter import FAULTS
from appliance.lab.judge.report import keep_scores, summary_table, write_report
from appliance.lab.judge.report_page import page
from appliance.lab.pack import CLASSES, load_clips
from appliance.lab.systems import onnx_systems
from appliance.lab.world.render import render

TINY = Suite(
    "tiny",
    {"per_snr": 1, "per_class": 0, "overlaps": 1, "minutes": 1, "per_distance": 0, "per_fault": 0},
    calibration_minutes=1,
)
Report = dict[str, Any]


def quiet(_: str) -> None:
    """No progress."""


@pytest.fixture(scope="module", autouse=True)
def one_commit() -> Iterator[None]:
    """Reports name the checkout's commit, which may move while this runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPLIANCE_COMMIT", "0000000")
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of this module's own, for its meta is written to."""
    return write_intensity_model(tmp_path_factory.mktemp("model") / "deepasa-like.onnx")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both trained baselines, small and untaught."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(5)
    crnn = AccdoaCrnn(AccdoaSettings(channels=(8, 8), hidden=16, layers=1))
    steered = SteeredCnn(SteeredSettings(channels=(8, 8), width=16, label_frames=3))
    save_baseline(crnn, folder / "accdoa.pt", step=11)
    save_baseline(steered, folder / "steered_cnn.pt", step=12)
    return folder


@pytest.fixture(scope="module")
def report(model: Path, checkpoints: Path) -> Report:
    return evaluate([model], TINY, checkpoints=checkpoints, workers=1, log=quiet)


def test_the_report_has_every_system_and_figure(report: Report) -> None:
    assert list(report["systems"]) == ["deepasa-fp32", "accdoa-crnn", "steered-cnn", "srp-energy", "harmonic-comb"]
    asked = {
        "drone_pd_by_snr_db",
        "drone_pd_by_distance_m",
        "false_alarms_per_hour",
        "seld",
        "doa_median_error_deg",
        "si_sdri_db",
        "latency_s",
        "class_f1",
        "tracks",
        "sigma",
        "confidence",
    }
    for figures in report["systems"].values():
        assert asked <= set(figures)
        assert list(figures["drone_pd_by_snr_db"]) == ["-15", "-10", "-5", "0", "5", "10", "20"]
        assert set(figures["seld"]) >= {"er20", "f20", "le_cd_deg", "lr_cd", "seld"}
    assert set(report) >= {"suite", "commit", "models", "baselines", "crb_deg", "timeline", "missing"}
    assert report["suite"]["parts"]["drone_snr"] == {"scenes": 7, "hours": 0.0233}
    bounds = report["crb_deg"]["respeaker_usb_4mic"]
    assert list(bounds.values()) == sorted(bounds.values(), reverse=True)


def test_baselines_have_thresholds_and_their_weights_an_origin(report: Report) -> None:
    facts = report["baselines"]
    assert {name: list(found) for name, found in facts["thresholds"].items()} == {
        "accdoa-crnn": list(CLASSES),
        "steered-cnn": list(CLASSES),
        "srp-energy": ["drone"],
        "harmonic-comb": ["drone"],
    }
    assert {name: origin["training"]["step"] for name, origin in facts["checkpoints"].items()} == {
        "accdoa-crnn": 11,
        "steered-cnn": 12,
    }
    assert not any(entry.startswith("baseline") for entry in report["missing"])


def test_a_baseline_that_was_not_trained_is_named_as_missing(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copy(checkpoints / "steered_cnn.pt", tmp_path)
    systems, missing = trained_baselines(tmp_path)
    assert [system.name for system in systems] == ["steered-cnn"]
    assert missing == ["baseline: causal multi-ACCDOA CRNN; no accdoa.pt among the checkpoints"]


def test_a_checkpoint_cut_short_or_of_other_features_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    whole = (checkpoints / "accdoa.pt").read_bytes()
    (tmp_path / "accdoa.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"accdoa\.pt: not a checkpoint .*train it again"):
        trained_baselines(tmp_path)
    saved = torch.load(checkpoints / "accdoa.pt", weights_only=True)
    torch.save({**saved, "features": ["level"]}, tmp_path / "accdoa.pt")
    with pytest.raises(ModelError, match=r"accdoa\.pt: taught on 1 features .*train it again"):
        trained_baselines(tmp_path)
    torch.save({**saved, "network": {}}, tmp_path / "accdoa.pt")
    with pytest.raises(ModelError, match=r"accdoa\.pt: weights of another network .*train it again"):
        trained_baselines(tmp_path)


def test_a_loud_drone_is_pointed_at_by_all_that_are_no_untaught_networks(report: Report) -> None:
    for name, figures in report["systems"].items():
        if name == "accdoa-crnn":
            continue
        assert figures["doa_median_error_untracked_deg"]["20"] < 10.0


def test_the_same_input_gives_the_same_bytes_in_one_process_or_two(
    model: Path, checkpoints: Path, report: Report
) -> None:
    again = evaluate([model], TINY, checkpoints=checkpoints, workers=2, log=quiet)
    assert json.dumps(again) == json.dumps(report)


def test_thresholds_never_see_the_test_fold_and_scenes_nothing_else() -> None:
    fold = {clip.path: clip.fold for clip in load_clips(range(1, 6))}

    def folds(suite: Suite, *, calibration: bool) -> set[int]:
        recipes = suite.calibration_recipes() if calibration else suite.recipes()
        return {fold[clip] for recipe in recipes for clip in (*recipe.bed, *(plan.clip for plan in recipe.sources))}

    for suite in (QUICK, FULL):
        assert folds(suite, calibration=False) == {5}
        assert folds(suite, calibration=True) == {4}
        assert not any(plan.label == "drone" for recipe in suite.calibration_recipes() for plan in recipe.sources)


def test_hearing_leaves_nothing_behind_for_the_next_scene(model: Path) -> None:
    (system,) = onnx_systems([model])
    recipe = TINY.recipes()[0]
    samples, geometry = render(recipe).samples, load_array(recipe.array)
    first = hear(samples, geometry, system)
    hear(samples[:, ::-1].copy(), geometry, system)
    second = hear(samples, geometry, system)
    assert (second.events, second.frames) == (first.events, first.frames)
    assert (second.target_score == first.target_score).all()


def test_tracks_are_judged_by_the_confidence_that_events_of_the_model_say(model: Path, tmp_path: Path) -> None:
    calibrated = write_intensity_model(tmp_path / "calibrated.onnx", calibration={"drone": [1.0, -2.0]})
    recipe = TINY.recipes()[0]
    samples, geometry = render(recipe).samples, load_array(recipe.array)
    plain, worded = (hear(samples, geometry, system) for system in onnx_systems([model, calibrated]))
    drones = [(a, b) for a, b in zip(plain.frames, worded.frames, strict=True) if a.label == "drone"]
    assert drones
    for a, b in drones:
        assert b.confidence == pytest.approx(confidence(a.confidence, (1.0, -2.0)))


def test_frames_keep_their_place_after_lost_audio(model: Path) -> None:
    """The network begins anew after a gap; the judge's clock does not."""
    (system,) = onnx_systems([model])
    recipe = TINY.recipes()[0]
    samples, geometry = render(recipe).samples, load_array(recipe.array)
    whole, holed = hear(samples, geometry, system), hear(samples, geometry, system, gaps=((64_000, 80_000),))
    lost = np.isnan(holed.target_direction_deg[:, 0])
    assert (lost == ((np.arange(120) >= 40) & (np.arange(120) < 50))).all()
    assert holed.target_score[:40] == pytest.approx(whole.target_score[:40])
    assert holed.target_score[60:] == pytest.approx(whole.target_score[60:], abs=0.2)
    assert not {frame.frame for frame in holed.frames} & set(range(40, 50))


def test_drones_are_counted_by_distance_and_fault(model: Path) -> None:
    """A loud drone near by is found, one whose sound arrives far below the ambience is not."""
    sizes = dict.fromkeys(("per_snr", "per_class", "overlaps", "minutes"), 0)
    recipes = Suite("parts", {**sizes, "per_distance": 1, "per_fault": 1}, calibration_minutes=0).recipes()
    assert [recipe.notes["distance_m"] for recipe in recipes[:6]] == [25.0, 50.0, 100.0, 200.0, 400.0, 800.0]
    assert {recipe.notes["ambient_dba"] for recipe in recipes[:18]} == {35.0, 45.0, 55.0}
    assert [recipe.notes["fault"] for recipe in recipes[18:]] == list(FAULTS)
    chosen = [recipes[0], recipes[17], recipes[18]]
    figures = system_figures(judge(chosen, onnx_systems([model]), workers=1, log=quiet)["deepasa-fp32"])
    assert {level: list(pd) for level, pd in figures["drone_pd_by_distance_m"].items()} == {"35": ["25"], "55": ["800"]}
    assert figures["drone_pd_by_distance_m"]["55"]["800"]["value"] == 0.0
    assert list(figures["drone_pd_by_fault"]) == ["none"]


def test_every_scene_is_judged_in_the_order_of_the_suite(model: Path) -> None:
    recipes = TINY.recipes()[:3]
    judged = judge(recipes, onnx_systems([model]), workers=1, log=quiet)
    assert [scene.notes["snr_db"] for scene in judged["deepasa-fp32"]] == [20.0, 10.0, 5.0]


def test_models_of_one_precision_go_by_their_files(model: Path, tmp_path: Path) -> None:
    other = write_intensity_model(tmp_path / "deepasa-other.onnx")
    foreign = write_intensity_model(tmp_path / "foreign.onnx")
    assert [system.name for system in onnx_systems([model, other, foreign])] == [
        "deepasa-like",
        "deepasa-other",
        "foreign",
    ]
    assert [system.name for system in onnx_systems([model, foreign])] == ["deepasa-fp32", "foreign"]


def test_a_model_cut_short_is_refused_before_anything_is_rendered(model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:-100])
    shutil.copy(model.with_suffix(".meta.json"), cut.with_suffix(".meta.json"))
    with pytest.raises(ModelError, match=r"cut\.onnx: sha256"):
        evaluate([cut], TINY, workers=1, log=quiet)


def test_a_missing_pack_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_PACK", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no audio pack.*APPLIANCE_PACK"):
        evaluate([model], TINY, workers=1, log=quiet)


def test_the_command_says_so_in_one_line(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from appliance.lab.commands import app

    monkeypatch.setenv("APPLIANCE_PACK", str(tmp_path))
    result = CliRunner().invoke(app, ["evaluate", str(model), "--quick", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ConfigError)
    assert not (tmp_path / "out").exists()


def test_files_hold_the_report_and_need_nothing_else(report: Report, tmp_path: Path) -> None:
    as_json, as_page = write_report(report, tmp_path / "out")
    assert json.loads(as_json.read_text(encoding="utf-8")) == report
    text = as_page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_the_page_is_well_formed_and_shows_every_system(report: Report) -> None:
    text = page(report)
    charts = [ElementTree.fromstring(f"<svg{part.split('</svg>')[0]}</svg>") for part in text.split("<svg")[1:]]  # noqa: S314 (our own)
    # Pd by SNR, two of detection, two of direction, two of confidence, and the timeline of each system.
    assert len(charts) == 7 + len(report["systems"])
    assert all(name in text for name in report["systems"])
    assert _Balance().of(text) == []


def test_the_page_tells_what_was_recovered_where_a_model_gives_masks(report: Report) -> None:
    assert report["missing"] == ["si_sdri_db of deepasa-fp32: it was exported without masks"]
    assert "Sounds recovered" not in page(report)
    entry = {"ideal": 11.4, "ideal_image": 13.1, "tracked": None, "tracked_image": None, "ca_sdri_db": 1.25}
    entry |= {"tracked_objects": 0, "of": 9}
    figures = {"method": "MVDR, masked", "by_snr_db": {"0": entry}, "by_objects": {"2": entry}}
    systems = {**report["systems"], "deepasa-fp32": {**report["systems"]["deepasa-fp32"], "si_sdri_db": figures}}
    text = page({**report, "systems": systems})
    assert text.count("direct – (+11.4), image – (+13.1), 0 of 9; CA +1.2") == 2
    assert _Balance().of(text) == []


def test_the_page_has_a_chart_of_distance_for_each_ambient_level(report: Report) -> None:
    pd = {"value": 0.5, "low": 0.2, "high": 0.8, "of": 4}
    by_distance = {ambient: {"25": pd, "800": pd} for ambient in ("35", "55")}
    systems = {name: {**figures, "drone_pd_by_distance_m": by_distance} for name, figures in report["systems"].items()}
    text = page({**report, "systems": systems})
    assert text.count("<svg") == page(report).count("<svg") + 2
    assert "ambient 35 dB(A)" in text


def test_scores_go_into_the_meta_and_the_model_still_loads(model: Path, report: Report) -> None:
    keep_scores([model], report)
    meta = json.loads(model.with_suffix(".meta.json").read_text(encoding="utf-8"))
    figures = report["systems"]["deepasa-fp32"]
    assert meta["scores"]["suite"] == "tiny"
    assert meta["scores"]["drone_pd_by_snr_db"] == figures["drone_pd_by_snr_db"]
    assert onnx_systems([model])[0].stages(load_array("respeaker_usb_4mic"))


def test_the_table_has_a_column_per_system_and_a_dash_for_what_is_missing(report: Report) -> None:
    table = summary_table(report)
    assert [column.header for column in table.columns][1:] == list(report["systems"])
    first = next(iter(report["systems"]))
    broken = {**report, "systems": {first: {**report["systems"][first], "seld": None}}}
    cells = dict(zip(*(list(column.cells) for column in summary_table(broken).columns), strict=True))
    assert cells["F20"] == "–"


def test_an_unwritable_folder_is_named(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot be written.*--out"):
        write_report(report, file)


class _Balance(HTMLParser):
    """Tags that are not closed in their order."""

    _VOID = frozenset({"meta", "line", "rect", "circle", "path", "polyline"})

    def of(self, text: str) -> list[str]:
        self._open: list[str] = []
        self._wrong: list[str] = []
        self.feed(text)
        return self._wrong + self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 (HTMLParser's)
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._VOID and (not self._open or self._open.pop() != tag):
            self._wrong.append(tag)
