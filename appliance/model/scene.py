"""The network at run time: feature frames in, one scene frame out, its state carried in named arrays."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from appliance.angles import azimuth_elevation_deg
from appliance.dsp.features import BANDS, FEATURE_NAMES, FEATURES
from appliance.errors import ModelError
from appliance.geometry import ArrayGeometry
from appliance.model.meta import ModelMeta, find_model, find_tagger, load_meta
from appliance.model.providers import ProviderName, open_session
from appliance.model.tagger import ObjectTagger, TaggerNetwork
from appliance.types import Direction, FeatureFrame, SceneFrame, SceneObject

_LOG = logging.getLogger(__name__)

_SCATTER_SHARE = 0.4
"""Of the error that the network expects, so much scatters from frame to frame. The rest stays while the source does, and a
filter that took it for scatter would follow too slowly (fold 4: 4.0° behind a moving drone instead of 2.7°)."""
_VALIDITY_XY, _VALIDITY_Z = FEATURE_NAMES.index("validity_xy"), FEATURE_NAMES.index("validity_z")
_LEAST_VALIDITY = 0.7
"""In its best band every array has more than .95, also without one of its microphones; what is left in a tilted plane has .44."""


class SceneModel:
    """One ONNX session and the state of what it heard. `load` is how to get one."""

    def __init__(
        self, session: onnxruntime.InferenceSession, meta: ModelMeta, tagger: TaggerNetwork | None = None
    ) -> None:
        self.meta = meta
        self.classes = meta.classes
        self.thresholds = meta.thresholds
        self.calibration = meta.calibration
        self.doa_sigma_factor = meta.doa_sigma_factor
        self.detection_activity = meta.detection_activity
        self.frames_per_step = meta.hops_per_step
        self.provider: str = session.get_providers()[0]
        self._session, self._tagger = session, tagger
        self._outputs = [output.name for output in session.get_outputs()]
        self.reset()

    @classmethod
    def load(cls, name_or_path: str | Path, *, provider: ProviderName = "cpu", threads: int = 1) -> "SceneModel":
        """Open a model by name or path, check its hash and its front end, and prove it by one inference.

        Raises `ModelError`: no model must never look like a quiet night.
        """
        path = find_model(name_or_path)
        meta = load_meta(path)
        tagger = TaggerNetwork.load(find_tagger(path, meta.tagger), meta.classes) if meta.tagger else None
        try:
            model = cls(open_session(path, meta, provider, threads), meta, tagger)
            model._infer(np.zeros((1, FEATURES, meta.hops_per_step, BANDS), np.float32))
        # ONNX Runtime raises a class of its own per status, all straight below Exception.
        except Exception as error:
            raise ModelError(
                f"{path}: cannot be run ({str(error).splitlines()[0]}); install the model again"
            ) from error
        model.reset()
        return model

    @property
    def gives_masks(self) -> bool:
        """False for a model that was exported without them: it hears, but separates nothing."""
        return "mask" in self._outputs

    @property
    def gives_direct_masks(self) -> bool:
        """True for a model that tells each object's direct from its reverberant sound, besides its mask."""
        return self.gives_masks and "direct_mask" in self._outputs

    @property
    def sounds(self) -> tuple[str, ...]:
        """What the tagger beside it tells apart, as in `Track.sounds`; empty where it has none."""
        return self._tagger.sounds if self._tagger else ()

    def new_tagger(self, geometry: ArrayGeometry) -> ObjectTagger | None:
        """What hears an array beside the model and has heard nothing yet; None where it has to do alone."""
        return ObjectTagger(self._tagger, geometry) if self._tagger else None

    def reset(self) -> None:
        """Forget everything heard: zeros are the state of a network that heard nothing."""
        self._state = {name: np.zeros(shape, np.float32) for name, shape in self.meta.states.items()}

    def step(self, frames: Sequence[FeatureFrame]) -> SceneFrame:
        """Hear one label frame: exactly `frames_per_step` hops."""
        out = self.hear(frames)
        end_s, utc_ns = frames[-1].end_s, frames[-1].utc_ns
        if not all(np.isfinite(values).all() for values in out.values()):
            _LOG.warning("the network gave no numbers; it forgets what it heard")
            self.reset()  # its state is no number either, and would stay so
            return SceneFrame((), end_s, utc_ns)
        elevation_valid = any(frame.values[_VALIDITY_Z].max() > 0.0 for frame in frames)
        azimuth_valid = all(frame.values[_VALIDITY_XY].max() >= _LEAST_VALIDITY for frame in frames)
        objects = tuple(
            SceneObject(
                slot=slot,
                activity=float(out["activity"][0, slot]),
                class_probs=out["class_probs"][0, slot, :-1],
                doa=_direction(out["doa"][0, slot], elevation_valid),
                doa_sigma_deg=_SCATTER_SHARE * float(out["doa_sigma_deg"][0, slot]),
                mask=out["mask"][0, slot] if "mask" in out else None,
                direct_mask=out["direct_mask"][0, slot] if "direct_mask" in out else None,
            )
            for slot in range(self.meta.objects)
        )
        return SceneFrame(objects, end_s, utc_ns, azimuth_valid=azimuth_valid)

    def hear(self, frames: Sequence[FeatureFrame]) -> dict[str, npt.NDArray[np.float32]]:
        """The graph's own outputs for exactly `frames_per_step` hops; the state moves on."""
        if len(frames) != self.frames_per_step:
            raise ValueError(f"a step takes {self.frames_per_step} hops, got {len(frames)}")
        return self._infer(np.stack([frame.values for frame in frames], axis=1)[None])

    def _infer(self, features: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        values = self._session.run(self._outputs, {"features": features, **self._state})
        out = dict(zip(self._outputs, values, strict=True))
        self._state = {name: out.pop(f"next_{name}") for name in self._state}
        return out


def _direction(vector: npt.NDArray[np.float32], elevation_valid: bool) -> Direction:
    azimuth_deg, elevation_deg = azimuth_elevation_deg(vector)
    return Direction(azimuth_deg, elevation_deg if elevation_valid else 0.0, elevation_valid)
