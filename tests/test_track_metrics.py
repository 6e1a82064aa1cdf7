"""Identity: switches and fragments, counted by hand."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from appliance.lab.metrics.tracks import Followed, follow_tracks
from appliance.lab.world.dcase_csv import SeldRow

Frames = dict[int, list[SeldRow]]


def drone(number: int, azimuth_deg: float, elevation_deg: float = 0.0) -> SeldRow:
    return SeldRow(0, number, azimuth_deg, elevation_deg)


def one_drone(frames: int = 6) -> Frames:
    return {frame: [drone(0, 10)] for frame in range(frames)}


def heard(numbers: Sequence[int | None], azimuth_deg: float = 12) -> Frames:
    """A track near the drone, frame by frame under these numbers; None: not there."""
    return {frame: [drone(number, azimuth_deg)] for frame, number in enumerate(numbers) if number is not None}


def test_one_track_all_along_is_whole() -> None:
    assert follow_tracks(one_drone(), heard([7] * 6)) == (
        Followed(class_index=0, source_index=0, frames=6, followed=6, tracks=1, id_switches=0, fragments=0),
    )


def test_another_number_is_a_switch_and_its_return_another() -> None:
    (drone_0,) = follow_tracks(one_drone(), heard([7, 7, 8, 8, 7, 7]))
    assert (drone_0.id_switches, drone_0.tracks, drone_0.fragments, drone_0.followed) == (2, 2, 0, 6)


def test_a_hole_is_a_fragment_whether_or_not_the_number_changes() -> None:
    (same,) = follow_tracks(one_drone(), heard([7, 7, None, None, 7, 7]))
    assert (same.fragments, same.id_switches, same.followed) == (1, 0, 4)
    (other,) = follow_tracks(one_drone(), heard([7, 7, None, None, 9, 9]))
    assert (other.fragments, other.id_switches, other.tracks) == (1, 1, 2)


def test_late_and_early_are_not_fragments() -> None:
    (drone_0,) = follow_tracks(one_drone(), heard([None, 7, 7, 7, None, None]))
    assert (drone_0.fragments, drone_0.followed, drone_0.frames) == (0, 3, 6)


def test_a_pause_of_the_sound_itself_is_no_fragment() -> None:
    reference = {frame: [drone(0, 10)] for frame in (0, 1, 8, 9)}
    (drone_0,) = follow_tracks(reference, heard([7, 7, None, None, None, None, None, None, 7, 7]))
    assert (drone_0.fragments, drone_0.followed, drone_0.frames) == (0, 4, 4)


def test_a_track_far_away_or_of_another_class_follows_nothing() -> None:
    nothing = Followed(0, 0, frames=6, followed=0, tracks=0, id_switches=0, fragments=0)
    assert follow_tracks(one_drone(), heard([7] * 6, azimuth_deg=31)) == (nothing,)
    assert follow_tracks(one_drone(), {frame: [SeldRow(1, 7, 10, 0)] for frame in range(6)}) == (nothing,)
    assert follow_tracks(one_drone(), {}) == (nothing,)


def test_elevation_counts_unless_the_array_is_planar() -> None:
    reference = {0: [drone(0, 10, 40)]}
    assert follow_tracks(reference, heard([7]))[0].followed == 0
    assert follow_tracks(reference, heard([7]), azimuth_only=True)[0].followed == 1


def test_a_track_stays_with_its_sound_when_another_comes_nearer() -> None:
    """Two drones cross; each track passes nearer to the other drone, within its own 20°: no identity changes."""
    reference = {frame: [drone(0, -6 + 4 * frame), drone(1, 6 - 4 * frame)] for frame in range(4)}
    tracks = {frame: [drone(7, -10 + 4 * frame), drone(8, 10 - 4 * frame)] for frame in range(4)}
    first, second = follow_tracks(reference, tracks)
    assert (first.id_switches, second.id_switches, first.followed, second.followed) == (0, 0, 4, 4)


def test_tracks_that_change_places_switch_both_sounds() -> None:
    reference = {frame: [drone(0, 0), drone(1, 90)] for frame in range(6)}
    tracks = {frame: [drone(7, 0 if frame < 3 else 90), drone(8, 90 if frame < 3 else 0)] for frame in range(6)}
    first, second = follow_tracks(reference, tracks)
    assert (first.id_switches, second.id_switches) == (1, 1)
    assert (first.fragments, second.fragments) == (0, 0)


def test_a_track_that_left_for_another_sound_has_no_claim_to_the_first() -> None:
    """Track 7 goes over from the first drone to the second; near both again, it stays with the second."""
    reference = {frame: [drone(0, 0), drone(1, 24)] for frame in range(3)}
    tracks = {0: [drone(7, 2)], 1: [drone(7, 23)], 2: [drone(7, 11)]}
    first, second = follow_tracks(reference, tracks)
    assert (first.followed, second.followed) == (1, 2)


numbers = st.lists(st.one_of(st.none(), st.integers(0, 2)), min_size=1, max_size=12)


@given(numbers, st.permutations(range(3)))
def test_the_figures_hang_together_and_do_not_depend_on_the_numbering(
    track: list[int | None], new_numbers: list[int]
) -> None:
    reference = one_drone(len(track))
    (before,) = follow_tracks(reference, heard(track))
    (after,) = follow_tracks(reference, heard([None if n is None else new_numbers[n] for n in track]))
    assert before == after
    assert before.followed == sum(n is not None for n in track)
    assert before.tracks == len({n for n in track if n is not None})
    assert max(0, before.tracks - 1) <= before.id_switches <= max(0, before.followed - 1)
    assert before.fragments <= before.frames - before.followed
