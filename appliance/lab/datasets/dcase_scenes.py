"""The scene sets of DCASE task 3: STARSS23 and TAU-NIGENS 2020 and 2021. One layout, three lists of classes.

Only the microphone format is read: its four channels are an array like any other, so scenes run through the pipeline as
a unit's own recordings do. (The first-order Ambisonics format holds the same scenes.)
"""

from pathlib import Path

from appliance.errors import ConfigError
from appliance.geometry import load_array
from appliance.lab.datasets.kinds import Card, SceneItem, SceneSet, Truth, needed
from appliance.lab.world.dcase_csv import load_dcase_csv

_RATE_HZ = 24_000
_CHANNELS = 4
_ARRAY = "tetrahedron_4cm2"
_NOTE = "The microphones lie on a rigid sphere, which the array file does not model. Interferers sound that no truth tells of."


def _scene_set(card: Card) -> SceneSet:
    def items(root: Path) -> list[SceneItem]:
        """Each WAV under `mic_dev` with its CSV of the same name under `metadata_dev`."""
        audio, metadata = needed(root / "mic_dev", card), needed(root / "metadata_dev", card)
        paths = sorted(audio.rglob("*.wav"))
        if not paths:
            raise ConfigError(f"{audio}: no WAV file; fetch {card.title} from {card.homepage}")
        return [
            SceneItem(
                path,
                (metadata / path.relative_to(audio)).with_suffix(".csv"),
                path.parent.name if path.parent != audio else path.name.partition("_")[0],
            )
            for path in paths
        ]

    def read_truth(item: SceneItem) -> Truth:
        assert item.truth is not None
        return load_dcase_csv(item.truth, len(card.classes))

    return SceneSet(card, items, read_truth, _RATE_HZ, _CHANNELS, lambda _: load_array(_ARRAY))


STARSS23 = _scene_set(
    Card(
        name="starss23",
        title="STARSS23",
        folder="STARSS23",
        homepage="https://zenodo.org/records/7880637",
        license="MIT",
        size="168 scenes, 7.4 h, 5 GB in the microphone format",
        files=168,
        layout="mic_dev/dev-test-tau/fold4_room2_mix001.wav\nmetadata_dev/dev-test-tau/fold4_room2_mix001.csv",
        classes={
            "female speech": "speech",
            "male speech": "speech",
            "clapping": None,
            "telephone": None,
            "laughter": None,
            "domestic sounds": None,
            "footsteps": "footsteps",
            "door": None,
            "music": None,
            "musical instrument": None,
            "water tap": None,
            "bell": None,
            "knock": None,
        },
        note=_NOTE,
    )
)

TAU2020 = _scene_set(
    Card(
        name="tau2020",
        title="TAU-NIGENS Spatial Sound Events 2020",
        folder="TAU-NIGENS-SSE-2020",
        homepage="https://zenodo.org/records/4064792",
        license="CC BY-NC 4.0",
        size="600 scenes, 10 h, 7 GB in the microphone format",
        files=600,
        layout="mic_dev/fold1_room1_mix001_ov1.wav\nmetadata_dev/fold1_room1_mix001_ov1.csv",
        classes={
            "alarm": "siren",
            "crying baby": None,
            "crash": None,
            "barking dog": "dog",
            "running engine": "vehicle_engine",
            "female scream": None,
            "female speech": "speech",
            "burning fire": None,
            "footsteps": "footsteps",
            "knocking on door": None,
            "male scream": None,
            "male speech": "speech",
            "ringing phone": None,
            "piano": None,
        },
        note=_NOTE,
    )
)

TAU2021 = _scene_set(
    Card(
        name="tau2021",
        title="TAU-NIGENS Spatial Sound Events 2021",
        folder="TAU-NIGENS-SSE-2021",
        homepage="https://zenodo.org/records/5476980",
        license="CC BY-NC 4.0",
        size="600 scenes, 10 h, 7 GB in the microphone format",
        files=600,
        layout="mic_dev/dev-train/fold1_room1_mix001.wav\nmetadata_dev/dev-train/fold1_room1_mix001.csv",
        classes={
            "alarm": "siren",
            "crying baby": None,
            "crash": None,
            "barking dog": "dog",
            "female scream": None,
            "female speech": "speech",
            "footsteps": "footsteps",
            "knocking on door": None,
            "male scream": None,
            "male speech": "speech",
            "ringing phone": None,
            "piano": None,
        },
        note=_NOTE,
    )
)
