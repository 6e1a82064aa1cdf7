"""ESC-50 (Piczak, 2015): 2,000 sounds of 5 s from Freesound, 50 classes, five folds by original recording."""

from pathlib import Path

from appliance.lab.datasets.kinds import Card, ClipSet, Item, label_of, needed
from appliance.lab.datasets.metadata import csv_rows, whole

CARD = Card(
    name="esc50",
    title="ESC-50",
    folder="ESC-50-master",
    homepage="https://github.com/karolpiczak/ESC-50",
    license="CC BY-NC 3.0 (its ESC-10 part CC BY 3.0)",
    size="2,000 clips, 2.8 h, 0.9 GB",
    files=2000,
    layout="meta/esc50.csv\naudio/1-100032-A-0.wav",
    classes={
        "airplane": "airplane",
        "breathing": None,
        "brushing_teeth": None,
        "can_opening": "impact_other",
        "car_horn": "vehicle_horn",
        "cat": "animal_other",
        "chainsaw": "power_tool",
        "chirping_birds": "birds",
        "church_bells": "bells",
        "clapping": "human_other",
        "clock_alarm": "siren",
        "clock_tick": None,
        "coughing": "human_other",
        "cow": "animal_other",
        "crackling_fire": "fire",
        "crickets": "crickets",
        "crow": "birds",
        "crying_baby": "human_other",
        "dog": "dog",
        "door_wood_creaks": "impact_other",
        "door_wood_knock": "impact_other",
        "drinking_sipping": None,
        "engine": "vehicle_engine",
        "fireworks": "explosion",
        "footsteps": "footsteps",
        "frog": "insects_frogs",
        "glass_breaking": "glass_break",
        "hand_saw": "hand_saw",
        "helicopter": "helicopter",
        "hen": "animal_other",
        "insects": "insects_frogs",
        "keyboard_typing": "impact_other",
        "laughing": None,
        "mouse_click": None,
        "pig": "animal_other",
        "pouring_water": "water",
        "rain": "rain",
        "rooster": "animal_other",
        "sea_waves": "water",
        "sheep": "animal_other",
        "siren": "siren",
        "sneezing": "human_other",
        "snoring": None,
        "thunderstorm": "thunder",
        "toilet_flush": None,
        "train": "train",
        "vacuum_cleaner": "machine_hum",
        "washing_machine": "machine_hum",
        "water_drops": "water",
        "wind": "wind",
    },
    note="Half of it is in the audio pack already; those recordings are not taken twice.",
)


def items(root: Path) -> list[Item]:
    """What `meta/esc50.csv` lists. A name is fold-recording-take-class; the recording is Freesound's number."""
    table = needed(root / "meta" / "esc50.csv", CARD)
    found = []
    for where, row in csv_rows(table, ("filename", "fold", "category", "esc10", "src_file")):
        license_ = "CC BY 3.0" if row["esc10"] == "True" else "CC BY-NC 3.0"
        label = label_of(CARD, row["category"], where)
        fold = whole(row["fold"], where, "fold")
        recording_id = f"freesound:{row['src_file']}"
        found.append(Item(f"audio/{row['filename']}", label, row["category"], recording_id, fold, license_))
    return found


ESC50 = ClipSet(CARD, items, rates_hz=(44_100,))
