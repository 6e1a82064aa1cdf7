"""A smaller copy of the audio pack, for a machine that training data has to be carried to."""

import csv
from collections.abc import Iterable
from pathlib import Path

import soundfile

from appliance.lab.pack import pack_dir

_COMPRESSION = 0.4
"""Vorbis at about 53 kbit/s for 16 kHz: noise 21 dB below the sound, where it masks it."""


def carry_pack(folder: Path, folds: Iterable[int]) -> int:
    """Write the clips of these folds as Ogg Vorbis with a manifest; bytes written. The copy serves as `$APPLIANCE_PACK`.

    Raises `ConfigError` where there is no pack.
    """
    source, wanted, size = pack_dir(), set(folds), 0
    with (source / "manifest.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if int(row["fold"]) in wanted]
        names = list(reader.fieldnames or ())
    for row in rows:
        samples, rate_hz = soundfile.read(source / row["path"], dtype="float32")
        target = folder / Path(row["path"]).with_suffix(".ogg")
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, samples, rate_hz, format="OGG", subtype="VORBIS", compression_level=_COMPRESSION)
        row["path"] = str(target.relative_to(folder))
        size += target.stat().st_size
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return size
