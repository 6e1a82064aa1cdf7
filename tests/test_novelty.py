"""The memory of a site: what it met is familiar, what it never met is not, and it stays within its bounds."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plane_waves import RATE_HZ, Samples, at_array, hiss, hum

from appliance.errors import StoreError
from appliance.geometry import load_array
from appliance.lab.judge.novelty import WINDOW_S, figures, level_vectors, site_suite, track_vectors
from appliance.lab.judge.novelty_hours import site_hours
from appliance.lab.metrics.novelty import auc, partial_auc
from appliance.lab.pack import load_clips
from appliance.lab.world.recipe import Recipe, SourcePlan
from appliance.model.scene import SceneModel
from appliance.novelty.keep import OtherVectorsError, load_memory, save_memory
from appliance.novelty.memory import MemorySettings, SiteMemory
from appliance.types import Float32Array

DAY_S = 86400.0
HOURLY = MemorySettings(learning_s=3600.0, capacity=40)
Vectors = npt.NDArray[np.float64]


def site(rng: np.random.Generator, count: int) -> Vectors:
    """Vectors (count, 6) of a site with three sounds."""
    places = np.array([[0, 0, 0, 0, 0, 0], [4, 0, 0, 2, 0, 0], [0, 5, 0, 0, 2, 0]], np.float64)
    return places[rng.integers(3, size=count)] + rng.normal(0.0, 0.5, (count, 6))


STRANGE = np.array([0.0, 0.0, 6.0, 0.0, 0.0, -4.0])


def learned(settings: MemorySettings = HOURLY, seconds: float = 4000.0) -> SiteMemory:
    """An hour of the site, in windows of two seconds."""
    memory = SiteMemory(6, settings)
    for vector in site(np.random.default_rng(1), round(seconds / 2.0)):
        meet(memory, vector)
    return memory


def meet(memory: SiteMemory, vector: Vectors) -> None:
    """A sound of one moment in two seconds, as far away as it is."""
    memory.listen(2.0)
    memory.learn([vector], memory.distance(vector))


def test_what_the_site_makes_is_near_and_what_it_never_made_is_far() -> None:
    memory = learned()
    own = [memory.distance(vector) for vector in site(np.random.default_rng(2), 300)]
    assert memory.learned
    assert np.median(own) < 1.0
    assert memory.own_per_day(memory.distance(STRANGE)) < 0.05 < 1.0 < memory.own_per_day(max(own[:100]))


def test_nothing_is_novel_before_the_site_is_learned() -> None:
    memory = learned(seconds=3000.0)
    assert not memory.learned
    assert memory.own_per_day(memory.distance(STRANGE)) == math.inf
    assert SiteMemory(6).distance(STRANGE) == math.inf


def test_so_many_a_day_is_what_it_says() -> None:
    """On a site that stays as it is: of what six hours bring later as many as were expected, within a factor of two."""
    memory = learned(seconds=8000.0)
    later = np.sort([memory.distance(vector) for vector in site(np.random.default_rng(3), 10_800)])[::-1]
    for rank in (25, 250, 1250):
        assert 0.5 * rank < 0.25 * memory.own_per_day(float(later[rank])) < 2.0 * rank


def test_a_site_that_sounds_half_as_often_has_half_as_many_strange_sounds_a_day() -> None:
    busy, quiet = learned(), learned()
    quiet.listen(busy.heard_s)
    assert quiet.own_per_day(0.0) == pytest.approx(0.5 * busy.own_per_day(0.0)) == pytest.approx(21_600.0)


def test_a_sound_is_met_once_in_however_many_moments_it_was_heard() -> None:
    memory = learned()
    memory.learn([STRANGE] * 20, 1.0)
    assert memory.own_per_day(memory.distance(STRANGE)) < 1.0


def test_a_new_sound_becomes_familiar_when_it_comes_again_and_again() -> None:
    memory = learned()
    for _ in range(3):
        assert memory.own_per_day(memory.distance(STRANGE)) < 1.0
        meet(memory, STRANGE)
    assert memory.distance(STRANGE) < 0.1


def test_what_has_not_been_met_for_long_is_forgotten() -> None:
    memory = learned()
    own = site(np.random.default_rng(2), 1)[0]
    assert memory.distance(own) < 2.0
    memory.listen(200.0 * DAY_S)
    for _ in range(5):
        meet(memory, STRANGE)
    assert memory.distance(STRANGE) < 0.1
    assert memory.distance(own) > 2.0


def test_it_stays_within_its_bounds() -> None:
    memory, rng = learned(), np.random.default_rng(4)
    for vector in rng.normal(0.0, 30.0, (500, 6)):
        meet(memory, vector)
    assert memory.prototypes == HOURLY.capacity
    assert sum(array.nbytes for array in memory.arrays().values()) < 50_000


def test_reset_forgets_the_site() -> None:
    memory = learned()
    memory.reset()
    assert (memory.prototypes, memory.heard_s, memory.learned) == (0, 0.0, False)


@pytest.mark.parametrize("vector", [np.zeros(5), np.full(6, np.nan)])
def test_what_is_no_vector_of_this_memory_is_refused(vector: Vectors) -> None:
    with pytest.raises(ValueError, match="6 finite numbers"):
        SiteMemory(6).learn([vector], None)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_it_survives_a_restart(tmp_path: Path) -> None:
    path, memory = tmp_path / "site.npz", learned()
    save_memory(memory, path, vectors="model a")
    again = load_memory(path, 6, vectors="model a", settings=HOURLY)
    assert again.learned
    for vector in (*site(np.random.default_rng(2), 5), STRANGE):
        assert again.distance(vector) == pytest.approx(memory.distance(vector), rel=1e-5)
        assert again.own_per_day(2.5) == pytest.approx(memory.own_per_day(2.5), rel=1e-4)
        meet(again, vector)
        meet(memory, vector)
    assert [file.name for file in tmp_path.iterdir()] == ["site.npz"]


def test_without_a_file_the_site_is_learned_and_one_of_another_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "site.npz"
    assert load_memory(path, 6, vectors="model a").prototypes == 0
    save_memory(learned(), path, vectors="model a")
    with pytest.raises(OtherVectorsError, match=r"site\.npz: the site was learned with another model \(model a"):
        load_memory(path, 6, vectors="model b")


@pytest.mark.parametrize("damage", ["cut", "other shape", "no archive"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "site.npz"
    save_memory(learned(), path, vectors="model a")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "no archive":
        path.write_bytes(b"hello")
    with pytest.raises(StoreError, match=r"site\.npz: no memory of a site .* remove it"):
        load_memory(path, 7 if damage == "other shape" else 6, vectors="model a")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone/site\.npz: the site's memory cannot be written"):
        save_memory(learned(), tmp_path / "gone" / "site.npz", vectors="model a")


# --- judged as DCASE does ---------------------------------------------------------------------------------------------


def test_figures_of_a_known_case() -> None:
    normal, anomalous = np.array([0.1, 0.2, 0.3, 0.4, 0.9]), np.array([0.35, 0.95])
    assert auc(normal, anomalous) == pytest.approx(8 / 10)
    assert partial_auc(normal, anomalous, 0.4) == pytest.approx(2 / 4)
    assert partial_auc(normal, anomalous, 0.2) == pytest.approx(1 / 2)


@given(st.lists(st.integers(0, 6), min_size=10, max_size=40), st.lists(st.integers(0, 6), min_size=1, max_size=20))
@settings(max_examples=50)
def test_auc_is_the_share_of_pairs_in_order(normal: list[int], anomalous: list[int]) -> None:
    pairs = [1.0 if a > n else 0.5 if a == n else 0.0 for n in normal for a in anomalous]
    assert auc(np.array(normal), np.array(anomalous)) == pytest.approx(np.mean(pairs))
    assert partial_auc(np.array(normal), np.array(anomalous), 1.0) == pytest.approx(np.mean(pairs))


def test_too_few_sounds_are_no_figure() -> None:
    with pytest.raises(ValueError, match="too few"):
        partial_auc(np.arange(9.0), np.arange(3.0))
    with pytest.raises(ValueError, match="needs normal and anomalous"):
        auc(np.arange(9.0), np.zeros(0))


# --- real sound -------------------------------------------------------------------------------------------------------


GEOMETRY = load_array("tetrahedron_4cm2")


def windows(signal: Samples, azimuth_deg: float) -> Float32Array:
    """Vectors of a sound as the array hears it from somewhere."""
    return level_vectors(at_array(signal, GEOMETRY, azimuth_deg).astype(np.float32), GEOMETRY)


def scene(part: str, label: str) -> Recipe:
    source = SourcePlan(clip="-", label=label, start_s=0.0, seconds=1.0, positions_m=((9.0, 0.0, 1.0),), snr_db=0.0)
    return Recipe(seed=0, seconds=4.0, array="tetrahedron_4cm2", sources=(source,), notes={"part": part})


def test_level_and_direction_do_not_make_a_sound_another_one() -> None:
    near, far = windows(hum(4.0, 0.05), 10.0), windows(hum(4.0, 0.02), 160.0)
    other = windows(hiss(np.random.default_rng(0), 4.0, 900.0), 10.0)
    assert near.shape == far.shape == (4.0 / WINDOW_S, 112)
    assert np.abs(near[1] - far[1]).mean() < 0.3 * np.abs(near[1] - other[1]).mean()


def test_what_a_unit_learns_from_is_all_that_its_tracks_were_taken_for() -> None:
    model = SceneModel.load("deepasa-edge-small-int8")
    heard = track_vectors(model, at_array(hum(4.0, 0.05), GEOMETRY, 10.0).astype(np.float32), GEOMETRY)
    assert heard.shape[1] == len(model.sounds) == 30
    assert 6 <= len(heard) <= 60
    assert (heard**2).sum(axis=1) == pytest.approx(np.ones(len(heard)), abs=1e-4)
    silence = np.zeros((GEOMETRY.mics, RATE_HZ), np.float32)
    assert track_vectors(model, silence, GEOMETRY).shape == (0, 30)


def test_an_unknown_sound_stands_out_from_those_of_the_site() -> None:
    """By the whole chain from samples to figures: a site that hums and hisses low, and a hiss that it never made."""
    rng = np.random.default_rng(0)
    parts: list[tuple[str, str]] = [
        *[("learn", "dog"), ("learn", "birds")] * 30,
        *[("normal", "dog"), ("normal", "birds")] * 10,
        *[("anomalous", "drone")] * 8,
    ]
    made = {"dog": lambda: hum(4.0, float(rng.uniform(0.01, 0.05))), "birds": lambda: hiss(rng, 4.0, 500.0)}
    made["drone"] = lambda: hiss(rng, 4.0, float(rng.uniform(1500.0, 2500.0)))
    vectors = [windows(made[label](), float(rng.uniform(-180.0, 180.0))) for _, label in parts]
    found = figures([scene(*part) for part in parts], vectors)
    assert found.auc == 1.0
    assert found.partial_auc == 1.0
    assert found.by_label == {"drone": 1.0}


def test_a_site_is_judged_on_other_recordings_than_it_was_learned_from() -> None:
    recipes = list(site_suite(learn=20, each_label=1))
    heard = recordings([recipe.model_copy(update={"bed": ()}) for recipe in recipes])
    assert not heard["learn"] & heard["normal"]
    labels = {part: {r.sources[0].label for r in recipes if r.notes["part"] == part} for part in ("learn", "anomalous")}
    assert not labels["learn"] & labels["anomalous"]
    assert "drone" in labels["anomalous"]


def test_hours_of_a_site_are_of_other_recordings_too_ambience_included() -> None:
    heard = recordings(site_hours(learn_minutes=30, test_minutes=30, each_label=1))
    assert len(heard["normal"]) > 10
    assert not heard["learn"] & heard["normal"]


def recordings(recipes: Sequence[Recipe]) -> dict[str, set[str]]:
    """Part of a suite → the recordings that sound in it, however many clips were cut from each."""
    of_clip = {clip.path: clip.recording_id for clip in load_clips([5])}
    heard: dict[str, set[str]] = {}
    for recipe in recipes:
        paths = [*recipe.bed, *(source.clip for source in recipe.sources)]
        heard.setdefault(str(recipe.notes["part"]), set()).update(of_clip[path] for path in paths)
    return heard
