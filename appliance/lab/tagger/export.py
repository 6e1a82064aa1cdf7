"""From the tagger's checkpoints to its ONNX files, FP32 and INT8, and into the meta of the models that they hear beside."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from appliance.dsp.steered import EARS
from appliance.errors import ModelError
from appliance.lab.checkpoint import REMEDY
from appliance.lab.edge.export import OPSET
from appliance.lab.edge.quantize import Inputs, quantize_convolutions
from appliance.lab.edge.ship import NOTICE
from appliance.lab.pack import SOUNDS
from appliance.lab.scenes.maker import SceneSettings
from appliance.lab.tagger.beams import BeamMaker
from appliance.lab.tagger.train import load_tagger
from appliance.model.meta import TaggerReference, file_sha256

DETECTION_ACTIVITY = 0.5
"""Of a model beside a tagger. What a network reports faintly it reports in the wrong place, twice and as several classes; what has
power is found by that, and the tagger names it."""
_KEPT_FP32 = ("stem",)
"""A convolution of one channel is little work, and all that is heard goes through it. On 2,000 beams of fold 4 the twins find .820 of the
classes at one false beam in a hundred, .818 so, .816 with INT8 stems, which are slower too."""
_CALIBRATION_BEAMS, _CALIBRATION_SEED = 256, 404
_ARRAYS, _SYNTHETIC_COUNT = 24, 8
"""For so few beams no more are made."""


class _Probabilities(nn.Module):
    """What all ears together say: the product of what each does."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, *levels: Tensor) -> Tensor:
        said = [
            torch.log_softmax(network(heard), dim=1)
            for network, heard in zip(self.networks.values(), levels, strict=True)
        ]
        return torch.softmax(torch.stack(said).sum(dim=0), dim=1)


def export_tagger(run: Path, folder: Path, name: str = "object-tagger") -> dict[str, TaggerReference]:
    """Write `<name>-fp32.onnx` and `<name>-int8.onnx` of the checkpoints in a run's folder, one for each of `EARS`; by precision.

    Each carries the names of its sounds and where it comes from. The convolutions of the second are INT8, calibrated on beams like those
    that its ears learned from.
    """
    loaded = {ear: load_tagger(run / f"{ear}.pt") for ear in EARS}
    for ear, (network, _) in loaded.items():
        if network.settings.ear != ear:
            raise ModelError(f"{run / f'{ear}.pt'}: a network for the ear {network.settings.ear!r}; {REMEDY}")
    folder.mkdir(parents=True, exist_ok=True)
    fp32, int8 = (folder / f"{name}-{precision}.onnx" for precision in ("fp32", "int8"))
    _write_graph({ear: network for ear, (network, _) in loaded.items()}, fp32)
    scenes = {ear: SceneSettings(**saved["settings"]["scenes"]) for ear, (_, saved) in loaded.items()}
    quantize_convolutions(fp32, int8, _beams(scenes), kept=_KEPT_FP32)
    training: dict[str, Any] = {
        ear: {key: saved[key] for key in ("settings", "commit", "step")} | {"hours": round(saved["seconds"] / 3600, 2)}
        for ear, (_, saved) in loaded.items()
    }
    training["notice"] = NOTICE
    for path in (fp32, int8):
        graph = onnx.load(str(path))
        onnx.helper.set_model_props(graph, {"sounds": json.dumps(SOUNDS), "training": json.dumps(training)})
        onnx.save(graph, str(path))
    return {
        precision: TaggerReference(file=path.name, sha256=file_sha256(path))
        for precision, path in (("fp32", fp32), ("int8", int8))
    }


def _write_graph(networks: Mapping[str, nn.Module], path: Path) -> None:
    with warnings.catch_warnings():
        # As in `export`: JetPack's runtimes read opset 17, which only the older exporter writes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Probabilities(networks).eval(),
            tuple(torch.zeros(1, 1, ear.hops, ear.bands) for ear in EARS.values()),
            str(path),
            input_names=list(EARS),
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamo=False,
        )


def _beams(scenes: Mapping[str, SceneSettings]) -> Iterator[Inputs]:
    """Beams for all ears at once; they need not be of the same sound, for no ear hears what another one does."""
    heard = {}
    for ear, settings in scenes.items():
        few = replace(
            settings,
            arrays=min(settings.arrays, _ARRAYS),
            synthetic_count=min(settings.synthetic_count, _SYNTHETIC_COUNT),
        )
        maker = BeamMaker(few, EARS[ear], _CALIBRATION_SEED)
        heard[ear] = maker.batch((_CALIBRATION_SEED,), _CALIBRATION_BEAMS)[0].numpy()
    for number in range(_CALIBRATION_BEAMS):
        yield {ear: levels[number : number + 1] for ear, levels in heard.items()}


def name_in_meta(references: Mapping[str, TaggerReference], models: Sequence[Path]) -> None:
    """Enter in the meta of models the tagger of their precision, and what they have to report beside it.

    What was tuned and scored without it is taken out. Raises `ModelError` where a meta tells no precision that there is a tagger of.
    """
    for model in models:
        meta = model.with_suffix(".meta.json")
        document = json.loads(meta.read_text(encoding="utf-8"))
        precision = document.get("precision")
        if precision not in references:
            raise ModelError(
                f"{meta}: precision: {precision!r} is none of {', '.join(references)}; export the model again"
            )
        document |= {"tagger": references[precision].model_dump(), "detection_activity": DETECTION_ACTIVITY}
        document |= {"thresholds": {}, "calibration": {}, "scores": {}}
        meta.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
