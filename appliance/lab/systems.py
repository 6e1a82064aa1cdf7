"""Networks as systems that the judge can hear scenes with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from appliance.dsp.features import FeatureExtractor
from appliance.geometry import ArrayGeometry
from appliance.model.meta import load_meta
from appliance.model.scene import SceneModel


@dataclass(frozen=True, slots=True)
class OnnxSystem:
    """A shipped model, or any that speaks its protocol, as a `hear.System`."""

    name: str
    """Its name in the report."""
    path: str
    """Of the .onnx file."""

    def stages(self, geometry: ArrayGeometry) -> tuple[FeatureExtractor, SceneModel]:
        """As `hear.System` says. Raises `ModelError` where the file is not whole."""
        model = _loaded(self.path)
        model.reset()
        return FeatureExtractor(geometry), model


def onnx_systems(paths: Sequence[Path]) -> tuple[OnnxSystem, ...]:
    """Systems named `deepasa-int8`, `deepasa-fp32`; by the file's name where that is not one of a kind or no DeepASA."""
    short = []
    for path in paths:
        meta = load_meta(path)
        short.append(f"deepasa-{meta.precision}" if meta.name.startswith("deepasa") else path.stem)
    twice = {name for name, count in Counter(short).items() if count > 1}
    return tuple(
        OnnxSystem(path.stem if name in twice else name, str(path)) for name, path in zip(short, paths, strict=True)
    )


@lru_cache(maxsize=8)
def _loaded(path: str) -> SceneModel:
    return SceneModel.load(path)
