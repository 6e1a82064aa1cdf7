"""Train the tagger, one network for each ear. Batches depend on (ear, seed, step) alone; an interrupted run goes on."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from appliance.dsp.steered import EARS
from appliance.lab.checkpoint import fill, read_checkpoint, rebuilt, write_checkpoint
from appliance.lab.commit import current_commit
from appliance.lab.pack import SOUNDS
from appliance.lab.scenes.dice import Dice
from appliance.lab.scenes.maker import SceneSettings
from appliance.lab.tagger.beams import BeamMaker
from appliance.lab.tagger.network import NETWORKS, TaggerCnn, TaggerSettings

_BATCH = 128
_WARMUP_STEPS, _WEIGHT_DECAY = 100, 0.05
_SMOOTHING = 0.05
_MIXUP = 0.4
"""Of every second batch the beams are mixed in pairs (Zhang et al., arXiv 1710.09412), by a share from Beta(.4, .4)."""
_SAVE_EVERY = 250


def train_tagger(
    scenes: SceneSettings,
    folder: Path,
    ear: str,
    *,
    minutes: float = 55.0,
    steps: int = 0,
    start: Path | None = None,
    rate: float = 2e-3,
    decay_share: float = 0.7,
    seed: int = 0,
    batch: int = _BATCH,
    threads: int = 1,
    workers: int = 1,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> Path:
    """Train the network of one of `EARS` for so long in all, or go on from `folder`/EAR.pt, whose path comes back.

    `steps`, where given, says how many in all instead. `start` is a checkpoint that a new folder begins from, its steps and
    hours counted. Over the last part, `decay_share` of the time or the steps, the learning `rate` falls to zero. `batch` beams are a step;
    `workers` processes prepare the recordings.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / f"{ear}.pt"
    network = TaggerCnn(NETWORKS[ear]).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=_WEIGHT_DECAY)
    step, first_step, seconds, own_s = 0, 0, 0.0, 0.0
    origin = last if last.exists() else start
    if origin is not None:
        saved = read_checkpoint(origin, device)
        fill(network, saved, origin)
        step, seconds = saved["step"], saved["seconds"]
        first_step = step
        if origin == last:
            optimiser.load_state_dict(saved["optimiser"])
            first_step, own_s = saved["first_step"], saved["own_s"]
        log(f"going on from {origin} at step {step}")
    commit = current_commit()  # what learns now; others may be made meanwhile
    maker = BeamMaker(scenes, EARS[ear], seed, device=device, workers=workers)
    began, begun_step, losses = time.monotonic(), step, 0.0
    network.train()
    while True:
        elapsed_s = own_s + time.monotonic() - began
        done = (step - first_step) / max(1, steps - first_step) if steps else elapsed_s / (60.0 * minutes)
        left = max(0.0, 1.0 - done)
        if left == 0.0 or (step > begun_step and step % _SAVE_EVERY == 0):
            spent_s = time.monotonic() - began
            saved = {
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "settings": {
                    "network": asdict(network.settings),
                    "scenes": asdict(scenes),
                    "seed": seed,
                    "batch": batch,
                },
                "commit": commit,
                "step": step,
                "first_step": first_step,
                "seconds": seconds + spent_s,
                "own_s": own_s + spent_s,
            }
            write_checkpoint(last, saved)
        if left == 0.0:
            return last
        rise = min(1.0, (step - first_step + 1) / _WARMUP_STEPS)
        for group in optimiser.param_groups:
            group["lr"] = rate * rise * min(1.0, left / decay_share)
        losses += float(_learn(network, optimiser, *_drawn(maker, seed, step, batch)))
        step += 1
        if step % 100 == 0:
            left_s = left * 60.0 * minutes if not steps else (steps - step) * (elapsed_s - own_s) / (step - begun_step)
            log(f"step {step} loss {losses / min(100, step - begun_step):.3f} ETA {left_s / 60.0:.1f} min")
            losses = 0.0


def _learn(network: TaggerCnn, optimiser: torch.optim.Optimizer, levels: Tensor, wanted: Tensor) -> Tensor:
    with torch.autocast(levels.device.type, torch.bfloat16):
        logits = network(levels.to(memory_format=torch.channels_last))
    loss = functional.cross_entropy(logits.float(), wanted, label_smoothing=_SMOOTHING)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimiser.step()
    return loss.detach()


def _drawn(maker: BeamMaker, seed: int, step: int, count: int) -> tuple[Tensor, Tensor]:
    """Beams of this step with bands and moments hidden (SpecAugment, arXiv 1904.08779), and the share of each sound."""
    levels, label = maker.batch((seed, step), count)
    dice = Dice((seed, step, 1), maker.device)
    hops, bands = levels.shape[2:]
    for size, widest, dim in ((bands, bands // 7, 3), (bands, bands // 7, 3), (hops, 3 * hops // 16, 2)):
        first, width = dice.integers(0, size, count, 1), dice.integers(0, widest, count, 1)
        place = torch.arange(size, device=maker.device)
        hidden = (place >= first) & (place < first + width)
        levels = levels.masked_fill(hidden[:, None, None] if dim == 3 else hidden[:, None, :, None], 0.0)
    wanted = functional.one_hot(label, len(SOUNDS)).float()
    torch.manual_seed(seed * 1_000_000_007 + step)  # of dropout and mixture: a run that goes on drops the same
    if step % 2:
        share = float(torch.distributions.Beta(_MIXUP, _MIXUP).sample())
        other = torch.randperm(count, device=maker.device)
        levels = share * levels + (1.0 - share) * levels[other]
        wanted = share * wanted + (1.0 - share) * wanted[other]
    return levels, wanted


def load_tagger(path: Path) -> tuple[TaggerCnn, dict[str, Any]]:
    """The network of a checkpoint, ready to listen, and the checkpoint itself."""
    saved = read_checkpoint(path)
    return rebuilt(saved, path, TaggerCnn, TaggerSettings), saved
