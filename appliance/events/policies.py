"""What counts as an event, per class: the defaults, and what the site file changes of them."""

import difflib
from collections.abc import Mapping, Sequence

from appliance.config import ClassPolicy
from appliance.errors import ConfigError
from appliance.types import ANOMALY

# Frames are 100 ms. An impulse is over after a few, so little but strong evidence must do. An engine stays, and much of
# what sounds like one for half a second is none, so it must stay for a second. The classes that raise an alert are those
# an operator would want to be woken for; elsewhere (a chainsaw in a reserve) the site file says so.
_IMPULSE = ClassPolicy(
    threshold=0.6, release=0.3, release_s=2.0, confirm_frames=2, window_frames=5, cooldown_s=3.0, update_s=1.0
)
_CALL = ClassPolicy(
    threshold=0.55, release=0.3, release_s=3.0, confirm_frames=3, window_frames=10, cooldown_s=15.0, update_s=5.0
)
_SUSTAINED = ClassPolicy(
    threshold=0.5, release=0.3, release_s=3.0, confirm_frames=8, window_frames=15, cooldown_s=10.0, update_s=2.0
)
_RELEASE_SHARE = 0.75
"""Hysteresis: an event is released below this share of a threshold that is low."""
_NEVER_ABOVE = (("release", "threshold"), ("confirm_frames", "window_frames"))
_ALERT: dict[str, object] = {"severity": "alert"}

DEFAULT_POLICIES: Mapping[str, ClassPolicy] = {
    # A drone fades in wind and behind trees; an alert that flaps is worse than one that lasts a little longer.
    "drone": _SUSTAINED.model_copy(update=_ALERT | {"release_s": 6.0}),
    "helicopter": _SUSTAINED,
    "airplane": _SUSTAINED,
    "vehicle_engine": _SUSTAINED,
    "power_tool": _SUSTAINED,
    "siren": _SUSTAINED,
    "gunshot": _IMPULSE.model_copy(update=_ALERT),
    "explosion": _IMPULSE.model_copy(update=_ALERT),
    "glass_break": _IMPULSE.model_copy(update=_ALERT),
    "dog": _CALL,
    "speech": _CALL,
    "footsteps": _CALL,
    # Judged over two seconds at a time. Slower than all others, so that what has a name is named first.
    ANOMALY: ClassPolicy(
        threshold=0.5, release=0.3, release_s=3.0, confirm_frames=20, window_frames=30, cooldown_s=60.0, update_s=5.0
    ),
}
"""By the class names of the shipped models; any other class keeps `ClassPolicy`'s own defaults."""


def policies_for(
    classes: Sequence[str], thresholds: Mapping[str, float], changes: Mapping[str, ClassPolicy]
) -> dict[str, ClassPolicy]:
    """The policy of each class of the model, and of an anomaly: the default, at the model's own threshold, with what the
    site file sets.

    Raises `ConfigError` that names the table and the likely class where the model knows no such class, or where a key
    contradicts one that the class has by default.
    """
    known = (*classes, ANOMALY)
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f'did you mean "{near[0]}"?' if near else f"the model knows {', '.join(classes)}"
            raise ConfigError(f"[policy.{name}]: unknown class; {hint}")
    return {name: _changed(name, thresholds.get(name), changes.get(name)) for name in known}


def at_threshold(policy: ClassPolicy, threshold: float) -> ClassPolicy:
    """The policy at another threshold; its release stays below."""
    release = min(policy.release, _RELEASE_SHARE * threshold)
    return policy.model_copy(update={"threshold": threshold, "release": release})


def _changed(name: str, threshold: float | None, change: ClassPolicy | None) -> ClassPolicy:
    default = DEFAULT_POLICIES.get(name, ClassPolicy())
    if threshold is not None:
        default = at_threshold(default, threshold)
    if change is None:
        return default
    policy = default.model_copy(update={key: getattr(change, key) for key in change.model_fields_set})
    for lower, upper in _NEVER_ABOVE:
        if getattr(policy, lower) > getattr(policy, upper):
            values = " and ".join(_with_origin(policy, change, key) for key in (lower, upper))
            raise ConfigError(
                f"[policy.{name}]: {lower} must not be above {upper}, and they are {values}; lower {lower} or raise {upper}"
            )
    return policy


def _with_origin(policy: ClassPolicy, change: ClassPolicy, key: str) -> str:
    """A value, and where it comes from unless the site file says it."""
    return f"{getattr(policy, key):g}" + ("" if key in change.model_fields_set else " (the class's own)")
