"""Which execution provider runs the network: proved and timed by real inference, never believed from a list.

`onnxruntime.get_available_providers()` says what was compiled in, not what works on this machine; and a session falls
back to the CPU without a word. So every candidate hears the same random steps; it must give what the CPU gives, and the
fastest is taken.
"""

import logging
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from appliance.dsp.features import BANDS, FEATURES
from appliance.model.meta import ModelMeta

ProviderName = Literal["auto", "cpu", "cuda", "tensorrt"]
Arrays = dict[str, npt.NDArray[np.float32]]

_STEPS = 12
_WARM_UP = 2
_TOLERANCE = 0.05
"""TensorRT and CUDA round in other places than the CPU; a wrong engine errs by far more than this."""
_FATAL_ONLY = 4
_NAMES = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying one provider."""

    provider: str
    """tensorrt, cuda or cpu."""
    step_ms: float
    """Median time of one step of 100 ms; NaN where it did not run."""
    fault: str
    """Why it cannot be used; empty where it can."""
    session: onnxruntime.InferenceSession | None
    """Ready to hear, where it can be used."""


def open_session(path: Path, meta: ModelMeta, wanted: ProviderName, threads: int) -> onnxruntime.InferenceSession:
    """A session on the wanted provider, or with `auto` on the fastest that is right.

    Says aloud (as a warning) where a wanted provider cannot be used and the CPU takes over. Raises whatever ONNX
    Runtime raises where not even the CPU runs the model.
    """
    if wanted == "cpu":
        return _session(path, meta, "cpu", threads)
    tried = trials(path, meta, threads)
    for trial in tried:
        if trial.fault and wanted in ("auto", trial.provider):
            _log.warning("%s: provider %s is not used: %s", path.name, trial.provider, trial.fault)
    usable = [trial for trial in tried if trial.session is not None]
    chosen = next((trial for trial in usable if trial.provider == wanted), None)
    if chosen is None:
        chosen = min(usable, key=lambda trial: trial.step_ms)
        if wanted != "auto":
            why = next((trial.fault for trial in tried if trial.provider == wanted), "this onnxruntime has none")
            _log.warning(
                "%s: [model] provider %s: %s; %s is used instead", path.name, wanted, why, chosen.provider.upper()
            )
    if len(usable) > 1:
        times = ", ".join(f"{trial.provider} {trial.step_ms:.1f} ms" for trial in usable)
        _log.info("%s: %s is used (one step: %s)", path.name, chosen.provider, times)
    assert chosen.session is not None
    return chosen.session


def trials(path: Path, meta: ModelMeta, threads: int = 1) -> list[Trial]:
    """Every provider that this ONNX Runtime was built with, CPU first, each tried for real.

    Raises whatever ONNX Runtime raises where the CPU does not run the model.
    """
    session = _session(path, meta, "cpu", threads)
    expected, step_ms = _hear(session, meta)
    tried = [Trial("cpu", step_ms, "", session)]
    built_in = onnxruntime.get_available_providers()
    for provider in ("cuda", "tensorrt"):
        if _NAMES[provider] in built_in:
            tried.append(_try(path, meta, provider, threads, expected))
    return tried


def disagreement(found: list[Arrays], expected: list[Arrays]) -> float:
    """Greatest difference of any output of any step; infinite where one is not a number."""
    worst = max(
        float(np.abs(ours[name] - theirs[name]).max())
        for ours, theirs in zip(found, expected, strict=True)
        for name in ours
    )
    return worst if np.isfinite(worst) else float("inf")


def _try(path: Path, meta: ModelMeta, provider: str, threads: int, expected: list[Arrays]) -> Trial:
    try:
        session = _session(path, meta, provider, threads)
        if session.get_providers()[0] != _NAMES[provider]:
            return Trial(provider, float("nan"), "it does not start on this machine", None)
        found, step_ms = _hear(session, meta)
    except Exception as error:  # noqa: BLE001 (each provider raises classes of its own; the CPU stands ready)
        return Trial(provider, float("nan"), str(error).splitlines()[0], None)
    if (worst := disagreement(found, expected)) > _TOLERANCE:
        return Trial(provider, step_ms, f"its outputs differ from the CPU's by {worst:.2g}", None)
    return Trial(provider, step_ms, "", session)


def _session(path: Path, meta: ModelMeta, provider: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    wanted: list[Any] = [(_NAMES[provider], _provider_options(provider, meta))]
    if provider != "cpu":
        wanted.append(_NAMES["cpu"])
    return onnxruntime.InferenceSession(str(path), options, providers=wanted)


def _provider_options(provider: str, meta: ModelMeta) -> dict[str, str]:
    """TensorRT builds an engine for minutes, so it is kept, under the model's hash: another model never finds it."""
    if provider != "tensorrt":
        return {}
    cache = Path(os.environ.get("CACHE_DIRECTORY", Path.home() / ".cache" / "appliance")) / meta.sha256[:16]
    cache.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_fp16_enable": "1",
        "trt_int8_enable": "1" if meta.precision == "int8" else "0",
    }


def _hear(session: onnxruntime.InferenceSession, meta: ModelMeta) -> tuple[list[Arrays], float]:
    """Outputs of some seeded steps with carried state, and their median time in milliseconds."""
    rng = np.random.default_rng(0)
    names = [output.name for output in session.get_outputs()]
    state = {name: np.zeros(shape, np.float32) for name, shape in meta.states.items()}
    heard, times = [], []
    for _ in range(_WARM_UP + _STEPS):
        features = rng.standard_normal((1, FEATURES, meta.hops_per_step, BANDS)).astype(np.float32)
        began = time.perf_counter()
        out = dict(zip(names, session.run(names, {"features": features, **state}), strict=True))
        times.append(time.perf_counter() - began)
        state = {name: out.pop(f"next_{name}") for name in state}
        heard.append(out)
    return heard, 1e3 * statistics.median(times[_WARM_UP:])
