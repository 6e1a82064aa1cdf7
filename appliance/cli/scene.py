"""`appliance scene`: what can be made of the stems of a recording."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from appliance.errors import ConfigError
from appliance.separation.binaural import BinauralDecoder
from appliance.separation.manifest import MANIFEST_NAME, StemsManifest, read_manifest
from appliance.separation.remix import Edit, remix

app = typer.Typer(no_args_is_help=True, add_completion=False)

_RESIDUAL = "residual"
_MOST_GAIN_DB = 60.0


@app.callback()
def _root() -> None:
    """Edit a recording object by object."""


@app.command(name="remix")
def remix_stems(
    folder: Annotated[Path, typer.Argument(help="Folder that `appliance replay --stems` wrote.")],
    out: Annotated[Path, typer.Argument(help="WAV file to write: 32-bit float.")],
    gain: Annotated[
        list[str] | None, typer.Option(help="Make an object, or `residual`, louder or softer.", metavar="ID=DB")
    ] = None,
    mute: Annotated[list[str] | None, typer.Option(help="Leave an object, or `residual`, out.", metavar="ID")] = None,
    move: Annotated[
        list[str] | None,
        typer.Option(
            help="Let an object come from one direction of the array frame.", metavar="ID=AZIMUTH[,ELEVATION]"
        ),
    ] = None,
    dry: Annotated[
        list[str] | None,
        typer.Option(help="Leave an object's reverberation out, where its stems have it apart.", metavar="ID"),
    ] = None,
    binaural: Annotated[
        bool, typer.Option("--binaural", help="Two channels for headphones; else FOA: W, Y, Z, X (ACN/SN3D).")
    ] = False,
) -> None:
    """Put stems together again. An object's ID is its number in stems.json; without options it is what the array heard."""
    edits, residual_gain = _edits(gain or [], mute or [], move or [], dry or [])
    manifest, decoder, peak = read_manifest(folder), BinauralDecoder() if binaural else None, 0.0
    try:
        with (
            _written_aside(_target(out, folder, manifest)) as begun,
            soundfile.SoundFile(
                begun, "w", manifest.sample_rate_hz, 2 if binaural else 4, "FLOAT", format="WAV"
            ) as file,
        ):
            for foa in remix(folder, edits, residual_gain):
                samples = decoder.push(foa) if decoder else foa
                peak = max(peak, float(np.abs(samples).max()))
                file.write(samples.T)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ConfigError(f"{out}: cannot be written ({error}); give another path") from None
    level = f"peak {20.0 * np.log10(peak):.1f} dBFS" if peak > 0.0 else "silent"
    kind = "binaural" if binaural else "FOA"
    typer.echo(f"{out}: {manifest.samples / manifest.sample_rate_hz:.1f} s of {kind}, {level}", err=True)


def _target(out: Path, folder: Path, manifest: StemsManifest) -> Path:
    """The file that `out` leads to. Raises `ConfigError` where that is a file of the stems themselves, or no file."""
    names = [MANIFEST_NAME, manifest.residual]
    for stem in manifest.objects:
        names += [stem.mono, stem.foa, *([stem.foa_reverb] if stem.foa_reverb else [])]
    target = out.resolve()
    if target in [(folder / name).resolve() for name in names]:
        raise ConfigError(f"{out}: belongs to the stems that are to be put together; give another path")
    if target.exists() and not target.is_file():
        raise ConfigError(f"{out}: is there and no file; give another path")
    return target


@contextlib.contextmanager
def _written_aside(target: Path) -> Iterator[Path]:
    """A new file that becomes `target` once it is whole: what cannot be put together must not cost the file that is there."""
    begun = target.with_name(target.name + ".new")
    try:
        yield begun
        begun.replace(target)
    finally:
        with contextlib.suppress(OSError):
            begun.unlink()


def _edits(gain: list[str], mute: list[str], move: list[str], dry: list[str]) -> tuple[dict[int, Edit], float]:
    """Edits by track id, and the residual's gain. Raises `ConfigError` where an option is not to be understood."""
    factors: dict[str, float] = {}
    for option in gain:
        name, (level_db,) = _split("--gain", option, 1)
        if abs(level_db) > _MOST_GAIN_DB:
            raise ConfigError(
                f"--gain {option}: beyond what is sensible; give -{_MOST_GAIN_DB:g} to {_MOST_GAIN_DB:g} dB, or --mute {name}"
            )
        factors[name] = 10.0 ** (level_db / 20.0)
    factors |= dict.fromkeys(mute, 0.0)
    residual_gain = factors.pop(_RESIDUAL, 1.0)
    gains = {_track_id(name): factor for name, factor in factors.items()}
    moves: dict[int, tuple[float, float]] = {}
    for option in move:
        name, angles_deg = _split("--move", option, 2)
        moves[_track_id(name)] = angles_deg[0], angles_deg[1] if len(angles_deg) > 1 else 0.0
    dried = {_track_id(name) for name in dry}
    edited = gains.keys() | moves.keys() | dried
    return {key: Edit(gains.get(key, 1.0), moves.get(key), key in dried) for key in edited}, residual_gain


def _split(option: str, text: str, most: int) -> tuple[str, tuple[float, ...]]:
    """`3=90,10` → 3 and its numbers."""
    name, _, values = text.partition("=")
    try:
        numbers = tuple(float(value) for value in values.split(","))
    except ValueError:
        numbers = ()
    if not 1 <= len(numbers) <= most or not all(map(math.isfinite, numbers)):
        example = "3=-6" if most == 1 else "3=90,10"
        raise ConfigError(f"{option} {text}: not to be understood; write it as {option} {example}")
    return name, numbers


def _track_id(name: str) -> int:
    if not name.isascii() or not name.isdigit():
        raise ConfigError(f"{name!r}: no object; give its track_id in stems.json, a number, or `residual`")
    return int(name)
