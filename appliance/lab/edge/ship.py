"""From a checkpoint to the files that ship: FP32 and INT8 ONNX with their meta."""

from collections.abc import Sequence
from pathlib import Path

from appliance.lab.edge.export import OUTPUTS, export_step_graph, write_meta
from appliance.lab.edge.quantize import quantize
from appliance.lab.edge.train import load_checkpoint
from appliance.lab.scenes.maker import SceneMaker, SceneSettings
from appliance.model.meta import MODELS_DIR

_CALIBRATION_SCENES = 48
NOTICE = (
    "Trained on the audio pack, part of which has no stated or a non-commercial licence: for research and evaluation; "
    "train on the rows marked redistributable for a commercial product."
)


def export_checkpoint(
    checkpoint: Path,
    name: str,
    folder: Path = MODELS_DIR,
    *,
    coi_rounds: int | None = None,
    outputs: Sequence[str] = OUTPUTS,
) -> tuple[Path, Path]:
    """Write `<name>-fp32.onnx` and `<name>-int8.onnx` with their meta; calibration scenes come from fold 4.

    `coi_rounds` cuts the chain of inference short; `outputs` leaves heads out.
    """
    network, saved = load_checkpoint(checkpoint)
    if coi_rounds is not None:
        network.cut_chain(coi_rounds)
    fp32, int8 = (folder / f"{name}-{precision}.onnx" for precision in ("fp32", "int8"))
    export_step_graph(network, fp32, outputs)
    maker = SceneMaker(SceneSettings(folds=(4,), synthetic_drones=0.0, synthetic_machines=0.0, arrays=24), seed=404)
    quantize(fp32, int8, list(maker.batch((404,), _CALIBRATION_SCENES)["features"].numpy()))
    training = {key: saved[key] for key in ("settings", "commit", "step")}
    training |= {"hours": round(saved["seconds"] / 3600, 2), "notice": NOTICE}
    for path, precision in ((fp32, "fp32"), (int8, "int8")):
        write_meta(path, network, precision=precision, training=training, scores={})
    return fp32, int8
