"""From a checkpoint to the files that ship: FP32 and INT8 ONNX with their meta."""

from pathlib import Path

from appliance.lab.export import export_step_graph, write_meta
from appliance.lab.quantize import quantize
from appliance.lab.scenes import SceneMaker, SceneSettings
from appliance.lab.train import load_checkpoint
from appliance.model.meta import MODELS_DIR

_CALIBRATION_SCENES = 48
NOTICE = (
    "Trained on the audio pack, part of which has no stated or a non-commercial licence: for research and evaluation; "
    "train on the rows marked redistributable for a commercial product."
)


def export_checkpoint(checkpoint: Path, name: str, folder: Path = MODELS_DIR) -> tuple[Path, Path]:
    """Write `<name>-fp32.onnx` and `<name>-int8.onnx` with their meta; calibration scenes come from fold 4."""
    network, saved = load_checkpoint(checkpoint)
    fp32, int8 = (folder / f"{name}-{precision}.onnx" for precision in ("fp32", "int8"))
    export_step_graph(network, fp32)
    maker = SceneMaker(SceneSettings(folds=(4,), synthetic_drones=0.0, arrays=24), seed=404)
    quantize(fp32, int8, [maker.scene((404, index)) for index in range(_CALIBRATION_SCENES)])
    training = {key: saved[key] for key in ("settings", "commit", "step")}
    training |= {"hours": round(saved["seconds"] / 3600, 2), "notice": NOTICE}
    for path, precision in ((fp32, "fp32"), (int8, "int8")):
        write_meta(path, network, precision=precision, training=training, scores={})
    return fp32, int8
