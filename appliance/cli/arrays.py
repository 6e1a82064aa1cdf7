"""`appliance arrays`: the microphone arrays that are known."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from appliance.geometry import ArrayGeometry, load_array, shipped_arrays

_VALID = 0.5


def arrays(
    name: Annotated[
        str | None, typer.Argument(help="Name of a shipped array, or path of an array file.", metavar="[NAME|FILE]")
    ] = None,
) -> None:
    """List the arrays that come with the appliance; with a name, show that one: microphones, channels, valid band."""
    # What a file says of itself is text, whatever brackets and colons it holds.
    console = Console(markup=False, emoji=False)
    if name is None:
        console.print(_overview())
    else:
        _show(console, load_array(name))


def _overview() -> Table:
    table = Table("name", "microphones", "radius", "elevation", "description", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for name in shipped_arrays():
        geometry = load_array(name)
        elevation = "height only" if geometry.is_planar else "yes"
        table.add_row(name, str(geometry.mics), f"{geometry.radius_m * 1e3:.1f} mm", elevation, geometry.description)
    return table


def _show(console: Console, geometry: ArrayGeometry) -> None:
    # Building an encoder takes a moment and SciPy; the list does without.
    from appliance.dsp.foa import FoaEncoder
    from appliance.dsp.stft import bin_frequencies_hz

    console.print(Text.assemble((geometry.name, "bold"), f"  {geometry.description}"))
    hints = geometry.device
    if hints.alsa_card_id:
        console.print(
            f"ALSA card id {hints.alsa_card_id}, {hints.channels or max(geometry.alsa_channels) + 1} channels"
        )
    table = Table("microphone", "channel", "front x", "left y", "up z", box=None, pad_edge=False)
    for mic, (channel, position) in enumerate(zip(geometry.alsa_channels, geometry.positions_m, strict=True), start=1):
        table.add_row(str(mic), str(channel), *(f"{coordinate * 1e3:+.1f} mm" for coordinate in position))
    console.print(table)
    frequencies_hz, validity = bin_frequencies_hz(), FoaEncoder(geometry).validity
    for column, what in enumerate(("azimuth", "elevation")):
        valid_hz = frequencies_hz[validity[:, column] >= _VALID]
        band = f"{valid_hz.min():.0f} to {valid_hz.max():.0f} Hz" if len(valid_hz) else "not told by this array"
        console.print(f"{what}: {band}")
