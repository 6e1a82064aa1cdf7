"""What one training run is, and its learning rate."""

from dataclasses import dataclass, field

from appliance.lab.edge.network import NetworkSettings
from appliance.lab.scenes.maker import SceneSettings


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One experiment; kept in every checkpoint."""

    seed: int = 0
    batch: int = 16
    """Scenes in a batch."""
    uses: int = 2
    """Steps that learn from a scene (`batches`): new, then turned and through another equaliser. More is a false economy:
    with four, the loss of what is seen again fell by memory alone."""
    steps: int = 10_000
    minutes: float = 0.0
    """Where given, the run ends after so long, and the rate falls by the clock: for a machine that is lent by the minute."""
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    decay_share: float = 0.3
    """Last part of the run, over which the rate falls."""
    weight_decay: float = 0.01
    curriculum_steps: int = 2500
    """Scenes go from clear single targets to what `scenes` says over this many steps."""
    bfloat16: bool = True
    """Mixed precision: convolutions in bfloat16."""
    fused: bool = True
    """On a GPU, kernels that do many steps at once, compiled in the first minute; False where there is no Triton."""
    validate_every: int = 1000
    """Steps from one checkpoint to the next."""
    validation_scenes: int = 64
    """Scenes of fold 4 at each level that a checkpoint is looked at with; 0: none."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    scenes: SceneSettings = field(default_factory=SceneSettings)


def learning_rate(settings: TrainSettings, step: int, elapsed_s: float = 0.0) -> float:
    """Warm-up, plateau, linear fall to zero at the last step or, where `minutes` is given, at the last moment."""
    done = elapsed_s / (60.0 * settings.minutes) if settings.minutes else step / settings.steps
    rise = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    fall = min(1.0, max(0.0, 1.0 - done) / max(settings.decay_share, 1e-9))
    return settings.learning_rate * rise * fall
