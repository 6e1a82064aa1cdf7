"""Every public set by its name."""

from appliance.errors import ConfigError
from appliance.lab.datasets.asa2 import ASA2
from appliance.lab.datasets.dads import DADS
from appliance.lab.datasets.dcase_scenes import STARSS23, TAU2020, TAU2021
from appliance.lab.datasets.dregon import DREGON
from appliance.lab.datasets.esc50 import ESC50
from appliance.lab.datasets.folders import FOLDERS
from appliance.lab.datasets.fsd50k import FSD50K
from appliance.lab.datasets.kinds import ClipSet, SceneSet
from appliance.lab.datasets.urbansound8k import URBANSOUND8K

CLIP_SETS = {clip_set.card.name: clip_set for clip_set in (ESC50, FSD50K, URBANSOUND8K, DADS, FOLDERS)}
SCENE_SETS = {scene_set.card.name: scene_set for scene_set in (STARSS23, TAU2020, TAU2021, ASA2, DREGON)}
DATASETS: dict[str, ClipSet | SceneSet] = {**CLIP_SETS, **SCENE_SETS}


def dataset(name: str) -> ClipSet | SceneSet:
    """The set of this name. Raises `ConfigError` that lists the names."""
    if name not in DATASETS:
        raise ConfigError(f"{name}: no set of that name; there are {', '.join(DATASETS)}")
    return DATASETS[name]
