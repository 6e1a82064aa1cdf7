"""A system judged on a public set of recorded scenes: the pipeline hears them as a unit would, DCASE's scores say how well."""

from collections.abc import Callable, Sequence

import numpy as np
import soundfile
import soxr

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import ConfigError, RecordingError
from appliance.lab.datasets.kinds import SceneRecording
from appliance.lab.hear import System, hear
from appliance.lab.judge.judged import track_rows
from appliance.lab.metrics.seld import SeldCounts, SeldScores, count_seld, seld_scores
from appliance.lab.pack import CLASSES
from appliance.types import Float32Array


def judge_recordings(
    recordings: Sequence[SceneRecording], system: System, log: Callable[[str], None] = print
) -> SeldScores:
    """SELD scores of what a system lists of each frame, over all recordings, over those of our classes that sound in them.

    Raises `ConfigError` where nobody says where the microphones of a recording are, or none of our classes sounds in any;
    `RecordingError` where one cannot be read.
    """
    total: SeldCounts | None = None
    for number, recording in enumerate(recordings, start=1):
        if recording.array is None:
            raise ConfigError(f"{recording.audio}: nobody says where its microphones are, so it cannot be heard")
        heard = hear(read_channels(recording), recording.array, system)
        reference, tracks = recording.our_truth(), track_rows(heard.listed)
        counts = count_seld(reference, tracks, len(CLASSES), azimuth_only=recording.array.is_planar)
        total = counts if total is None else total + counts
        log(f"{number}/{len(recordings)} {recording.audio.name}")
    if total is None or not total.tracks.any():
        raise ConfigError(f"none of our classes sounds in these {len(recordings)} recordings; judge on another set")
    return seld_scores(total)


def read_channels(recording: SceneRecording) -> Float32Array:
    """Samples (mics, n) at 16 kHz. Raises `RecordingError`."""
    try:
        samples, rate_hz = soundfile.read(recording.audio, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordingError(f"{recording.audio}: cannot be read ({error}); fetch it again") from error
    mics = recording.array.mics if recording.array else samples.shape[1]
    if samples.shape[1] != mics:
        raise RecordingError(f"{recording.audio}: {samples.shape[1]} channels, not {mics}; fetch it again")
    return np.ascontiguousarray(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ").T, np.float32)
