"""FSD50K (Fonseca et al., 2020): 51,197 sounds of 0.3 to 30 s from Freesound, 200 classes of the AudioSet ontology.

Its labels are per clip, several to a clip, and carried up the ontology. A clip is used where its labels mean one of our
sounds and no other, and nothing among them could be mistaken for one of ours.
"""

import json
from pathlib import Path
from typing import Any

from appliance.errors import RecordingError
from appliance.lab.datasets.kinds import Card, ClipSet, Item, needed, training_fold
from appliance.lab.datasets.metadata import csv_rows

_MEANING = {
    "airplane": "Fixed-wing_aircraft_and_airplane",
    "vehicle_engine": "Accelerating_and_revving_and_vroom Bus Car Car_passing_by Engine_starting Idling "
    "Motor_vehicle_(road) Motorcycle Race_car_and_auto_racing Truck",
    "power_tool": "Drill Power_tool",
    "gunshot": "Gunshot_and_gunfire",
    "explosion": "Boom Explosion Fireworks",
    "glass_break": "Shatter",
    "siren": "Alarm Siren",
    "dog": "Bark Dog",
    "speech": "Conversation Female_speech_and_woman_speaking Male_speech_and_man_speaking Speech",
    "footsteps": "Run Walk_and_footsteps",
    "ambience": "Traffic_noise_and_roadway_noise",
    "animal_other": "Chicken_and_rooster Livestock_and_farm_animals_and_working_animals Meow Purr",
    "bells": "Bell Church_bell Cowbell",
    "birds": "Bird_vocalization_and_bird_call_and_bird_song Chirp_and_tweet Crow Gull_and_seagull",
    "crickets": "Cricket",
    "fire": "Crackle Fire",
    "hand_saw": "Sawing",
    "human_other": "Applause Clapping Cough Crying_and_sobbing Sneeze",
    "impact_other": "Door Hammer Keys_jangling Knock Slam Typing",
    "insects_frogs": "Frog Insect",
    "machine_hum": "Mechanical_fan",
    "music": "Music",
    "rain": "Rain Raindrop",
    "thunder": "Thunder Thunderstorm",
    "train": "Rail_transport Train",
    "vehicle_horn": "Vehicle_horn_and_car_horn_and_honking",
    "water": "Ocean Stream Waves_and_surf",
    "wind": "Wind",
}
_BARRED = (
    "Aircraft Chatter Cheering Child_speech_and_kid_speaking Chuckle_and_chortle Crowd Giggle Growling Laughter "
    "Ringtone Screaming Shout Singing Speech_synthesizer Telephone Whispering Yell"
)
_BROADER = {
    "Cricket": {"Insect"},
    "Fixed-wing_aircraft_and_airplane": {"Aircraft"},
    "Gunshot_and_gunfire": {"Explosion"},
    "Traffic_noise_and_roadway_noise": {"Motor_vehicle_(road)"},
    "Vehicle_horn_and_car_horn_and_honking": {"Car", "Motor_vehicle_(road)"},
}
"""Labels that say nothing of their own beside a narrower one, where the two mean different sounds to us."""

CARD = Card(
    name="fsd50k",
    title="FSD50K",
    folder="FSD50K",
    homepage="https://zenodo.org/records/4060432",
    license="CC BY 4.0 as a set; each clip CC0, CC BY, CC BY-NC or CC Sampling+",
    size="51,197 clips, 108 h, 34 GB",
    files=51_197,
    layout="FSD50K.ground_truth/dev.csv\n"
    "FSD50K.ground_truth/eval.csv\n"
    "FSD50K.metadata/dev_clips_info_FSD50K.json\n"
    "FSD50K.metadata/eval_clips_info_FSD50K.json\n"
    "FSD50K.dev_audio/64760.wav\n"
    "FSD50K.eval_audio/1340.wav",
    classes={name: label for label, names in _MEANING.items() for name in names.split()}
    | dict.fromkeys(_BARRED.split()),
    note="Its dev/train becomes folds 1 to 3, dev/val fold 4, eval fold 5. It has no drone and no helicopter.",
)
_FOLD_OF_SPLIT = {"val": 4, "eval": 5}


def meaning(labels: set[str]) -> str | None:
    """The one of `SOUNDS` that a clip's labels mean, or None where they mean none, several, or something like ours."""
    named = labels - set().union(*(_BROADER.get(label, set()) for label in labels))
    meant = {CARD.classes[label] for label in named if label in CARD.classes}
    return meant.pop() if len(meant) == 1 else None


def items(root: Path) -> list[Item]:
    """What the ground truth of `dev` and `eval` lists; either part may be left out whole, table and audio."""
    folder = needed(root / "FSD50K.ground_truth", CARD)
    found = []
    for part in ("dev", "eval"):
        table = folder / f"{part}.csv"
        if not table.exists() and not (root / f"FSD50K.{part}_audio").exists():
            continue
        licenses = _licenses(root / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json")
        columns = ("fname", "labels", "split") if part == "dev" else ("fname", "labels")
        for where, row in csv_rows(needed(table, CARD), columns):
            name, labels = row["fname"], row["labels"].split(",")
            split = row["split"] if part == "dev" else "eval"
            if split not in ("train", *_FOLD_OF_SPLIT):
                raise RecordingError(f"{where}: split {split!r} is neither train nor val; fetch the file again")
            their_class = next((label for label in labels if CARD.classes.get(label)), labels[0])
            found.append(
                Item(
                    f"FSD50K.{part}_audio/{name}.wav",
                    meaning(set(labels)),
                    their_class,
                    f"freesound:{name}",
                    _FOLD_OF_SPLIT.get(split) or training_fold(f"freesound:{name}"),
                    licenses.get(name, CARD.license),
                )
            )
    if not found:
        raise RecordingError(f"{folder}: lists no clip; fetch dev.csv or eval.csv from {CARD.homepage}")
    return found


def _licenses(path: Path) -> dict[str, str]:
    """Licence of each clip by its name; nothing where that file was not fetched."""
    if not path.exists():
        return {}
    try:
        clips: Any = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(about["license"]) for name, about in clips.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordingError(f"{path}: is not the JSON of clip → licence ({error}); fetch it again") from error


FSD50K = ClipSet(CARD, items, rates_hz=(44_100,))
