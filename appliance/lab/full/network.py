"""DeepASA as the paper has it: hears a whole clip, on a GPU, and is a teacher of the network that ships.

Lee, Kwon & Choi, *DeepASA: An Object-Oriented Multi-Purpose Network for Auditory Scene Analysis*, NeurIPS 2025, arXiv
2509.17247; no code or weights of it are public, so this is built from the ideas. Three things are other than there: a GRU for
Mamba (`blocks`), a fixed window for the one that follows the signal, and no 97-million-parameter classifier beside it.
What comes out is first-order Ambisonics, whatever array goes in, so that sound, direction and class are of one frame.
"""

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from appliance.lab.full.blocks import Aggregation, SeriesDecoder
from appliance.lab.full.coherence import TemporalCoherence
from appliance.lab.pack import CLASSES

WINDOW_SAMPLES, HOP_SAMPLES = 640, 320
BINS = WINDOW_SAMPLES // 2 + 1
_FOA = 4
_QUIET = 1e-5

Outputs = dict[str, Tensor]
"""Of N clips of n samples, J object slots and L = n / 1600 label frames: `direct`, `reverb` (N, J, 4, n) and `noise` (N, 4, n)
Ambisonics [W, Y, Z, X] (ACN/SN3D); `on_logits` (N, J), whether the slot holds an object; `class_logits` (N, J, C);
`sed_logits` (N, J, L, C); `doa` (N, J, L, 3), whose length is activity."""


class FullNetworkSettings(BaseModel):
    """Size of the network; kept in its checkpoints. The defaults are the paper's where it states them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(default=4, ge=1)
    """Of the input: 4 for Ambisonics, else the array's microphones."""
    width: int = Field(default=64, ge=4)
    """D, channels of the features; a multiple of `heads`."""
    blocks: int = Field(default=6, ge=1)
    """Of feature aggregation."""
    heads: int = Field(default=4, ge=1)
    """Of every attention."""
    recurrence: int = Field(default=128, ge=1)
    """Width of the recurrence along time, each way."""
    objects: int = Field(default=5, ge=1)
    """J: object slots, the noise slot not counted."""
    series: int = Field(default=128, ge=1)
    """Width of the recurrences that name and point, each way."""
    coi_rounds: int = Field(default=1, ge=0, le=3)
    """Times that the chain of inference goes round."""


class DeepAsa(nn.Module):
    """Samples (N, channels, n) → `Outputs` of the first look and of every round of the chain of inference; n is a multiple of 1600.

    Later rounds say what is to be added to the ones before: each of the outputs is complete.
    """

    def __init__(self, settings: FullNetworkSettings) -> None:
        super().__init__()
        self.settings = s = settings
        self.encoder = nn.Sequential(nn.Conv2d(2 * s.channels, s.width, 3, padding=1), nn.GroupNorm(1, s.width))
        blocks = (Aggregation(s.width, s.heads, s.recurrence) for _ in range(s.blocks))
        self.aggregation = nn.Sequential(*blocks)
        self.first = _Heads(s)
        self.coherence = nn.ModuleList(
            [TemporalCoherence(s.objects, len(CLASSES), s.width, s.heads) for _ in range(s.coi_rounds)]
        )
        self.again = nn.ModuleList([_Heads(s) for _ in range(s.coi_rounds)])
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)

    def forward(self, samples: Tensor) -> list[Outputs]:
        """As the class says."""
        level = samples.square().mean(dim=(1, 2), keepdim=True).sqrt() + _QUIET
        spectrum = self._stft(samples / level)
        rounds = self.say(torch.cat([spectrum.real, spectrum.imag], dim=1))
        return [self._heard(said, level, samples.shape[2]) for said in rounds]

    def say(self, spectrum: Tensor) -> list[Outputs]:
        """Real and imaginary parts (N, 2·channels, T, F) of a signal of level 1 → every round's outputs, sound still as spectra."""
        features = self.aggregation(self.encoder(spectrum))
        said = self.first(features)
        rounds = [said]
        for match, heads in zip(self.coherence, self.again, strict=True):
            features = match(features, torch.sigmoid(said["sed_logits"]), said["doa"])
            more = heads(features)
            said = {name: value + more[name] for name, value in said.items()}
            rounds.append(said)
        return rounds

    def _heard(self, said: Mapping[str, Tensor], level: Tensor, samples: int) -> Outputs:
        """Spectra become samples, at the level of the input."""
        outputs = {name: value.float() for name, value in said.items()}
        for name in ("direct", "reverb", "noise"):
            waves = self._istft(outputs[name], samples)
            outputs[name] = waves * level.reshape(-1, *[1] * (waves.ndim - 1))
        return outputs

    def _stft(self, samples: Tensor) -> Tensor:
        """(N, channels, n) → (N, channels, T, F) complex, T = n / 320 + 1."""
        spectra = torch.stft(
            samples.flatten(0, 1).float(),
            WINDOW_SAMPLES,
            HOP_SAMPLES,
            window=self.get_buffer("window"),
            return_complex=True,
        )
        return spectra.reshape(*samples.shape[:2], *spectra.shape[1:]).transpose(2, 3)

    def _istft(self, parts: Tensor, samples: int) -> Tensor:
        """(..., 2, 4, T, F) real and imaginary parts → (..., 4, n)."""
        spectra = torch.complex(*parts.unbind(-4)).transpose(-1, -2)
        waves = torch.istft(
            spectra.flatten(0, -3), WINDOW_SAMPLES, HOP_SAMPLES, window=self.get_buffer("window"), length=samples
        )
        return waves.reshape(*spectra.shape[:-2], samples)


class _Heads(nn.Module):
    """The object splitter, and what is said of each object: features (N, D, T, F) → `Outputs`, sound still as spectra."""

    def __init__(self, s: FullNetworkSettings) -> None:
        super().__init__()
        self.objects = s.objects
        self.splitter = nn.Conv2d(s.width, (s.objects + 1) * s.width, 3, padding=1)
        self.direct, self.reverb, self.noise = (_audio_decoder(s.width) for _ in range(3))
        self.sed, self.doa = (SeriesDecoder(s.width, BINS, s.series) for _ in range(2))
        self.on_out = nn.Linear(2 * s.series, 1)
        self.class_out = nn.Linear(2 * s.series, len(CLASSES))
        self.sed_out = nn.Linear(2 * s.series, len(CLASSES))
        self.doa_out = nn.Linear(2 * s.series, 3)

    def forward(self, features: Tensor) -> Outputs:
        """As the class says."""
        n, width, time, bins = features.shape
        split = self.splitter(features).reshape(n, self.objects + 1, width, time, bins)
        objects = split[:, : self.objects].reshape(n * self.objects, width, time, bins)
        series, pointing = self.sed(objects), self.doa(objects)
        whole = series.mean(dim=1)

        def per_object(said: Tensor) -> Tensor:
            return said.reshape(n, self.objects, *said.shape[1:])

        return {
            "direct": per_object(_as_spectra(self.direct(objects))),
            "reverb": per_object(_as_spectra(self.reverb(objects))),
            "noise": _as_spectra(self.noise(split[:, self.objects])),
            "on_logits": per_object(self.on_out(whole)[:, 0]),
            "class_logits": per_object(self.class_out(whole)),
            "sed_logits": per_object(self.sed_out(series)),
            "doa": per_object(self.doa_out(pointing)),
        }


def _audio_decoder(width: int) -> nn.Sequential:
    """Features → complex spectra of Ambisonics."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width), nn.Conv2d(width, 2 * _FOA, 3, padding=1)
    )


def _as_spectra(decoded: Tensor) -> Tensor:
    """(B, 8, T, F) → (B, 2, 4, T, F)."""
    return decoded.reshape(len(decoded), 2, _FOA, *decoded.shape[2:])
