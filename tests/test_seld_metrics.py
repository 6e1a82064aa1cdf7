"""SELD scores: every kind of mistake, worked out by hand; and the challenge's own tool on a busy scene."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.lab.metrics.seld import SeldScores, count_seld, seld_scores
from appliance.lab.world.dcase_csv import SeldFrames, SeldRow

CLASSES = 3
DRONE, SIREN, DOG = range(CLASSES)
SECOND = range(10)

Frames = dict[int, list[SeldRow]]


def sound(class_index: int, azimuth_deg: float, source_index: int = 0, elevation_deg: float = 0.0) -> SeldRow:
    return SeldRow(class_index, source_index, azimuth_deg, elevation_deg)


def during(frames: Iterable[int], *rows: SeldRow) -> Frames:
    return {frame: list(rows) for frame in frames}


def judged(reference: SeldFrames, prediction: SeldFrames) -> SeldScores:
    return seld_scores(count_seld(reference, prediction, CLASSES))


def assert_scores(scores: SeldScores, er20: float, f20: float, le_cd_deg: float, lr_cd: float) -> None:
    assert (scores.er20, scores.f20, scores.le_cd_deg, scores.lr_cd) == pytest.approx((er20, f20, le_cd_deg, lr_cd))
    assert scores.seld == pytest.approx((er20 + (1 - f20) + le_cd_deg / 180 + (1 - lr_cd)) / 4)


def test_what_is_right_in_all_is_perfect() -> None:
    scene = during(SECOND, sound(DRONE, 10), sound(SIREN, -170, 1, 30))
    assert_scores(judged(scene, scene), er20=0, f20=1, le_cd_deg=0, lr_cd=1)


def test_a_miss_is_a_deletion() -> None:
    assert_scores(judged(during(SECOND, sound(DRONE, 10)), {}), er20=1, f20=0, le_cd_deg=180, lr_cd=0)


def test_a_false_alarm_is_an_insertion_and_lowers_micro_but_not_the_mean_over_classes_that_sound() -> None:
    scores = judged(during(SECOND, sound(DRONE, 10)), during(SECOND, sound(DRONE, 10), sound(DOG, 50)))
    assert_scores(scores, er20=1, f20=1, le_cd_deg=0, lr_cd=1)
    assert scores.f20_micro == pytest.approx(1 / (1 + 0.5))
    assert np.isnan(scores.f20_by_class[[SIREN, DOG]]).all()


def test_a_wrong_class_at_the_right_place_is_one_substitution() -> None:
    scores = judged(during(SECOND, sound(DRONE, 10)), during(SECOND, sound(SIREN, 10)))
    assert_scores(scores, er20=1, f20=0, le_cd_deg=180, lr_cd=0)


def test_a_wrong_place_is_detected_for_localisation_and_false_for_detection() -> None:
    scores = judged(during(SECOND, sound(DRONE, 170)), during(SECOND, sound(DRONE, -165)))
    assert_scores(scores, er20=1, f20=0, le_cd_deg=25, lr_cd=1)


@pytest.mark.parametrize(("error_deg", "f20"), [(19.99, 1.0), (20.01, 0.0)])
def test_twenty_degrees_divide_right_from_wrong(error_deg: float, f20: float) -> None:
    scores = judged(during(SECOND, sound(DRONE, 0)), during(SECOND, sound(DRONE, 0, 0, error_deg)))
    assert_scores(scores, er20=1 - f20, f20=f20, le_cd_deg=error_deg, lr_cd=1)


def test_the_error_is_averaged_over_the_frames_in_which_both_sound_before_it_is_judged() -> None:
    prediction = during(range(2, 6), sound(DRONE, 10)) | during(range(6, 8), sound(DRONE, 37))
    scores = judged(during(SECOND, sound(DRONE, 0)), prediction)
    assert_scores(scores, er20=0, f20=1, le_cd_deg=(4 * 10 + 2 * 37) / 6, lr_cd=1)


def test_a_wrong_place_and_a_miss_in_one_segment_make_one_substitution() -> None:
    reference = during(SECOND, sound(DRONE, 0), sound(SIREN, 90, 1))
    counts = count_seld(reference, during(SECOND, sound(DRONE, 60)), CLASSES)
    assert counts.errors.tolist() == [1, 0, 0]
    assert_scores(seld_scores(counts), er20=1 / 2, f20=0, le_cd_deg=(60 + 180) / 2, lr_cd=1 / 2)


def test_a_wrong_place_and_a_miss_in_different_segments_do_not() -> None:
    reference = during(SECOND, sound(DRONE, 0)) | during(range(10, 20), sound(SIREN, 90))
    counts = count_seld(reference, during(SECOND, sound(DRONE, 60)), CLASSES)
    assert counts.errors.tolist() == [0, 1, 1]
    assert_scores(seld_scores(counts), er20=2 / 2, f20=0, le_cd_deg=(60 + 180) / 2, lr_cd=1 / 2)


def test_overlapping_classes_are_judged_apart() -> None:
    reference = during(SECOND, sound(DRONE, 0), sound(SIREN, 90, 1))
    prediction = during(SECOND, sound(DRONE, 5), sound(SIREN, 115, 1))
    assert_scores(judged(reference, prediction), er20=1 / 2, f20=1 / 2, le_cd_deg=(5 + 25) / 2, lr_cd=1)


def test_classes_swapped_between_two_places_are_both_in_the_wrong_place() -> None:
    reference = during(SECOND, sound(DRONE, 0), sound(SIREN, 90, 1))
    prediction = during(SECOND, sound(SIREN, 0), sound(DRONE, 90, 1))
    assert_scores(judged(reference, prediction), er20=2 / 2, f20=0, le_cd_deg=90, lr_cd=1)


def test_a_same_class_pair_is_associated_by_place_whatever_the_system_numbers() -> None:
    reference = during(SECOND, sound(DRONE, 0, 0), sound(DRONE, 90, 1))
    prediction = during(range(5), sound(DRONE, 90, 0), sound(DRONE, 0, 1))
    prediction |= during(range(5, 10), sound(DRONE, 0, 7), sound(DRONE, 90, 7))
    assert_scores(judged(reference, prediction), er20=0, f20=1, le_cd_deg=0, lr_cd=1)


def test_association_takes_the_least_total_arc_not_the_nearest_first() -> None:
    """Nearest first would pair 10° with 9° and leave 0° and 32°: 33° in all, instead of 31°."""
    reference = during(SECOND, sound(DRONE, 0, 0), sound(DRONE, 10, 1))
    prediction = during(SECOND, sound(DRONE, 9, 0), sound(DRONE, 32, 1))
    assert_scores(judged(reference, prediction), er20=1 / 2, f20=1 / (1 + 1), le_cd_deg=(9 + 22) / 2, lr_cd=1)


def test_one_prediction_for_a_same_class_pair_is_half_a_recall() -> None:
    reference = during(SECOND, sound(DRONE, 0, 0), sound(DRONE, 90, 1))
    scores = judged(reference, during(SECOND, sound(DRONE, 92)))
    assert_scores(scores, er20=1 / 2, f20=1 / (1 + 0.5), le_cd_deg=2, lr_cd=1 / 2)


def test_a_third_prediction_for_a_same_class_pair_is_one_false_alarm() -> None:
    reference = during(SECOND, sound(DRONE, 0, 0), sound(DRONE, 90, 1))
    prediction = during(SECOND, sound(DRONE, 0, 0), sound(DRONE, 90, 1), sound(DRONE, -90, 2))
    assert_scores(judged(reference, prediction), er20=1 / 2, f20=2 / (2 + 0.5), le_cd_deg=0, lr_cd=1)


def test_speakers_who_take_turns_within_a_segment_are_one_reference_instance() -> None:
    reference = during(range(5), sound(DRONE, 0, 0)) | during(range(5, 10), sound(DRONE, 90, 1))
    counts = count_seld(reference, during(SECOND, sound(DRONE, 0)), CLASSES)
    assert counts.tracks[DRONE] == 1
    assert_scores(seld_scores(counts), er20=1, f20=0, le_cd_deg=45, lr_cd=1)


def test_an_instance_keeps_its_errors_when_its_twin_falls_silent() -> None:
    """By place in the file the twin at 90° would inherit the errors of the one at 0° from the fifth frame on."""
    reference = during(range(5), sound(DRONE, 0, 0), sound(DRONE, 90, 1)) | during(range(5, 10), sound(DRONE, 90, 1))
    prediction = during(range(5), sound(DRONE, 30, 0), sound(DRONE, 90, 1)) | during(range(5, 10), sound(DRONE, 90, 1))
    assert_scores(judged(reference, prediction), er20=1 / 2, f20=1 / 2, le_cd_deg=(30 + 0) / 2, lr_cd=1)


def test_a_prediction_in_other_frames_of_the_segment_cannot_be_localised_and_is_missed() -> None:
    scores = judged(during(range(5), sound(DRONE, 0)), during(range(5, 10), sound(DRONE, 0)))
    assert_scores(scores, er20=1, f20=0, le_cd_deg=180, lr_cd=0)


def test_false_alarms_after_the_last_reference_count() -> None:
    reference = during(SECOND, sound(DRONE, 0))
    scores = judged(reference, during(range(30), sound(DRONE, 0)))
    assert scores.er20 == pytest.approx(2 / 1)
    assert scores.f20 == pytest.approx(1 / (1 + 0.5 * 2))


def test_a_planar_array_is_not_judged_by_elevation() -> None:
    reference, prediction = during(SECOND, sound(DRONE, 10, 0, 60)), during(SECOND, sound(DRONE, 13))
    assert_scores(seld_scores(count_seld(reference, prediction, CLASSES, azimuth_only=True)), 0, 1, 3, 1)
    assert judged(reference, prediction).f20 == 0


def test_scenes_add_up_segment_by_segment() -> None:
    hit = count_seld(during(SECOND, sound(DRONE, 0)), during(SECOND, sound(DRONE, 4)), CLASSES)
    miss = count_seld(during(SECOND, sound(DRONE, 0)), {}, CLASSES)
    assert_scores(seld_scores(hit + hit + miss), er20=1 / 3, f20=2 / (2 + 0.5), le_cd_deg=4, lr_cd=2 / 3)


def test_a_silent_reference_has_no_scores() -> None:
    with pytest.raises(ValueError, match="silent"):
        judged({}, during(SECOND, sound(DRONE, 0)))


def test_a_class_beyond_the_list_is_refused() -> None:
    with pytest.raises(IndexError):
        judged({}, during(SECOND, sound(CLASSES, 0)))


def busy_scene() -> tuple[Frames, Frames]:
    """13 s of nine sounds, three of each class, and a system that drifts, drops, confuses and invents; no randomness."""
    reference: Frames = {}
    prediction: Frames = {}
    for number in range(9):
        start = 10 * (number * 4 % 9)
        for frame in range(start, start + 50):
            azimuth_deg = float((number * 83 + 2 * frame) % 360 - 180)
            elevation_deg = float(number * 31 % 90 - 40)
            reference.setdefault(frame, []).append(sound(number % CLASSES, azimuth_deg, number, elevation_deg))
            drift_deg = float((number * 13 + frame // 10 * 11) % 47 - 23)
            heard_as = (number + (frame + number) // 10 % 4 // 3) % CLASSES
            if (frame // 4 + number) % 5:
                heard = sound(heard_as, (azimuth_deg + drift_deg + 180) % 360 - 180, 0, elevation_deg + 3)
                prediction.setdefault(frame, []).append(heard)
            if frame % 60 < 5:
                prediction.setdefault(frame, []).append(sound((number + frame) % CLASSES, 0))
    return reference, prediction


def test_a_busy_scene_scores_as_the_tool_of_the_challenge_scores_it() -> None:
    """The figures are what `SELD_evaluation_metrics.py` of sharathadavanne/seld-dcase2023 gave for this very scene."""
    scores = judged(*busy_scene())
    assert_scores(scores, er20=0.8, f20=0.5037669248195564, le_cd_deg=27.740226262649482, lr_cd=0.9607843137254902)
    micro = (scores.f20_micro, scores.le_cd_micro_deg, scores.lr_cd_micro, scores.seld_micro)
    assert micro == pytest.approx((0.5045045045045045, 27.740226262649482, 0.9574468085106383, 0.37304026377767197))


frames_of_sounds = st.dictionaries(
    st.integers(0, 25),
    st.lists(
        st.builds(
            SeldRow,
            st.integers(0, CLASSES - 1),
            st.integers(0, 3),
            st.floats(-180, 180, allow_nan=False),
            st.floats(-90, 90, allow_nan=False),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda row: row[:2],
    ),
    min_size=1,
    max_size=12,
)


@given(frames_of_sounds)
def test_the_truth_as_prediction_is_perfect(scene: Frames) -> None:
    scores = judged(scene, scene)
    assert (scores.er20, scores.f20, scores.f20_micro, scores.lr_cd, scores.lr_cd_micro) == (0, 1, 1, 1, 1)
    assert scores.le_cd_deg == pytest.approx(0, abs=1e-9)
    assert scores.seld == pytest.approx(0, abs=1e-9)


@given(frames_of_sounds, frames_of_sounds, st.permutations(range(4)), st.permutations(range(4)))
def test_neither_numbers_of_tracks_nor_order_of_rows_change_a_score(
    reference: Frames, prediction: Frames, new_numbers: list[int], other_numbers: list[int]
) -> None:
    def renumbered(frames: Frames, numbers: list[int]) -> Frames:
        return {
            frame: [row._replace(source_index=numbers[row.source_index]) for row in reversed(rows)]
            for frame, rows in reversed(frames.items())
        }

    before = dataclasses.astuple(judged(reference, prediction))
    after = dataclasses.astuple(judged(renumbered(reference, new_numbers), renumbered(prediction, other_numbers)))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-9)


@given(frames_of_sounds, frames_of_sounds)
def test_scores_stay_within_their_bounds(reference: Frames, prediction: Frames) -> None:
    counts = count_seld(reference, prediction, CLASSES)
    scores = seld_scores(counts)
    assert scores.er20 >= 0
    for share in (scores.f20, scores.f20_micro, scores.lr_cd, scores.lr_cd_micro):
        assert 0 <= share <= 1
    assert 0 <= scores.le_cd_deg <= 180
    assert (counts.hits + counts.misplaced <= counts.tracks).all()
