"""The full DeepASA: as big as it says, its parts do what the paper says, and it learns from scenes that the lab renders."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import appliance.lab
from appliance.angles import unit_vector
from appliance.cli.main import app
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import ConfigError
from appliance.lab.edge.experiment import load_experiment
from appliance.lab.full.blocks import Aggregation, SeriesDecoder
from appliance.lab.full.coherence import TemporalCoherence
from appliance.lab.full.losses import asa_loss, assignment, sa_sdr_db
from appliance.lab.full.network import BINS, DeepAsa, FullNetworkSettings
from appliance.lab.full.scenes import FullScene, FullSceneSettings, collate, full_scene
from appliance.lab.full.train import FULL_EXPERIMENT, FullTraining, load_full, load_full_experiment, train_full
from appliance.lab.metrics.separation import si_sdr_db
from appliance.lab.pack import CLASSES
from appliance.lab.world.recipe import Pose, Recipe, Room, SourcePlan

_SMALL = FullNetworkSettings(width=8, blocks=1, heads=2, recurrence=8, objects=2, series=8)
_DRONE, _SPEECH = CLASSES.index("drone"), CLASSES.index("speech")


def network_of(settings: FullNetworkSettings = _SMALL, seed: int = 0) -> DeepAsa:
    torch.manual_seed(seed)
    return DeepAsa(settings)


@pytest.fixture(autouse=True, scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A pack of two target sounds, one that is none, and ambience."""
    folder = tmp_path_factory.mktemp("pack")
    time_s, rng = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ, np.random.default_rng(1)
    rotor = 0.05 * np.sum([np.sin(2 * np.pi * 130.0 * k * time_s + k) for k in range(2, 12)], axis=0)
    bursts = 0.1 * rng.standard_normal(len(time_s)) * (np.sin(2 * np.pi * 3.0 * time_s) > 0.3)
    sounds = {
        "drone": rotor,
        "speech": bursts,
        "train": bursts[::-1],
        "ambience": 0.1 * rng.standard_normal(len(time_s)),
    }
    for label, samples in sounds.items():
        soundfile.write(folder / f"full_{label}.flac", samples, SAMPLE_RATE_HZ)
    head = "path,class,subclass,fold,license,recording_id,source_repo,seconds"
    rows = [f"full_{label}.flac,{label},{label},1,CC0,{label},made,2.0" for label in sounds]
    (folder / "manifest.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPLIANCE_PACK", str(folder))
        yield


def recipe_of(*labels: str, array: str = "tetrahedron_4cm2", seconds: float = 1.0, hall: bool = True) -> Recipe:
    places = ((1.2, 1.6, 2.0), (-1.5, -1.0, 1.2), (0.5, -2.0, 1.5))
    sources = tuple(
        SourcePlan(
            clip=f"full_{label}.flac",
            label=label,
            start_s=0.1,
            seconds=0.8 * seconds,
            positions_m=(place,),
            snr_db=15.0,
        )
        for label, place in zip(labels, places, strict=False)
    )
    room = Room(size_m=(11.0, 8.0, 3.5), array_m=(4.5, 3.6), absorption=(0.25,) * 6, order=8)
    return Recipe(
        seed=1,
        seconds=seconds,
        array=array,
        surface=None,
        room=room if hall else None,
        pose=Pose(height_m=1.5),
        sources=sources,
    )


@pytest.fixture(scope="module")
def scene() -> FullScene:
    return full_scene(recipe_of("drone", "speech"), objects=2)


# --- the network ------------------------------------------------------------------------------------------------------


def test_every_output_has_the_shape_that_is_told() -> None:
    network = network_of()
    with torch.no_grad():
        rounds = network(0.1 * torch.randn(3, 4, 8000))
    assert len(rounds) == 2
    shapes = {
        "direct": (3, 2, 4, 8000),
        "reverb": (3, 2, 4, 8000),
        "noise": (3, 4, 8000),
        "on_logits": (3, 2),
        "class_logits": (3, 2, len(CLASSES)),
        "sed_logits": (3, 2, 5, len(CLASSES)),
        "doa": (3, 2, 5, 3),
    }
    for said in rounds:
        assert {name: tuple(value.shape) for name, value in said.items()} == shapes


def test_its_level_is_that_of_its_input_and_what_it_says_is_not() -> None:
    network, samples = network_of().eval(), 0.1 * torch.randn(1, 4, 8000)
    with torch.no_grad():
        soft, loud = network(samples)[-1], network(100.0 * samples)[-1]
    for name in ("direct", "reverb", "noise"):
        torch.testing.assert_close(loud[name], 100.0 * soft[name], rtol=1e-2, atol=1e-3)
    for name in ("on_logits", "class_logits", "sed_logits", "doa"):
        torch.testing.assert_close(loud[name], soft[name], rtol=1e-2, atol=1e-3)


def test_spectra_that_nobody_changed_give_their_samples_back() -> None:
    network, samples = network_of(), torch.randn(2, 4, 4800)
    spectra = network._stft(samples)
    assert spectra.shape == (2, 4, 16, BINS)
    back = network._istft(torch.stack([spectra.real, spectra.imag], dim=1), 4800)
    torch.testing.assert_close(back, samples, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("what", ["time", "frequency"])
def test_a_block_hears_all_of_both_axes(what: str) -> None:
    """A change at one end of one axis is heard at its other end: nothing here is causal or local."""
    torch.manual_seed(0)
    block, x = Aggregation(8, 2, 8).eval(), torch.randn(1, 8, 12, 20)
    changed = x.clone()
    changed[:, :, -1 if what == "time" else 3, 3 if what == "time" else -1] *= -1.0
    with torch.no_grad():
        difference = (block(changed) - block(x)).abs().amax(dim=(0, 1))
    assert difference[0, 3] > 1e-7 if what == "time" else difference[3, 0] > 1e-7


def test_a_series_has_a_step_per_label_frame_at_its_own_time() -> None:
    """What sounds in label frame 8 reaches as far before it as behind it, the normalisation (of whole clips) left out."""
    torch.manual_seed(0)
    decoder, x = SeriesDecoder(8, 64, 4).eval(), torch.zeros(1, 8, 12 * 5 + 1, 64)
    assert decoder(x).shape == (1, 12, 8)
    local = torch.nn.Sequential(*(part for part in decoder.cnn if not isinstance(part, torch.nn.GroupNorm)))
    changed = x.clone()
    changed[:, :, 40:45] = torch.randn(1, 8, 5, 64)
    with torch.no_grad():
        differs = (local(changed[:, :, :-1]) - local(x[:, :, :-1])).abs().amax(dim=(0, 1, 3)) > 1e-9
    assert torch.nonzero(differs).flatten().tolist() == list(range(5, 12))


# --- the chain of inference -------------------------------------------------------------------------------------------


def test_untrained_it_changes_nothing_and_trained_both_series_count() -> None:
    torch.manual_seed(0)
    match = TemporalCoherence(2, 3, 8, 2)
    z, sed, doa = torch.randn(1, 8, 21, 6), torch.rand(1, 2, 4, 3), torch.randn(1, 2, 4, 3)
    assert torch.equal(match(z, sed, doa), z)
    torch.nn.init.normal_(match.film.weight)
    heard = match(z, sed, doa)
    assert heard.shape == z.shape
    for other in (match(z, sed.flip(2), doa), match(z, sed, doa.flip(2))):
        assert (other - heard).abs().max() > 1e-3


def test_tokens_that_move_together_find_each_other() -> None:
    """Attention by the course over time alone, projections being the identity: what is on with a token is what it hears."""
    torch.manual_seed(0)
    attention = TemporalCoherence(2, 3, 8, 1).sed_hears_doa
    for conv in (attention.query, attention.key, attention.value, attention.out):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        conv.weight.data[0, 0, conv.kernel_size[0] // 2] = 1.0
    early, late = torch.zeros(16), torch.zeros(16)
    early[:8], late[8:] = 8.0, 8.0
    heard = attention(torch.stack([early, late]).unsqueeze(0), torch.stack([late, -early, early]).unsqueeze(0))
    torch.testing.assert_close(heard[0], 2.0 * torch.stack([early, late]), rtol=0.0, atol=1e-3)


def test_each_round_adds_to_the_one_before() -> None:
    network = network_of().eval()
    with torch.no_grad():
        for heads in network.again:
            for parameter in heads.parameters():
                parameter.zero_()
        first, last = network(0.1 * torch.randn(1, 4, 4800))
    for name, value in first.items():
        torch.testing.assert_close(last[name], value)
    assert len(network_of(_SMALL.model_copy(update={"coi_rounds": 0}))(torch.randn(1, 4, 1600))) == 1


def test_it_costs_what_the_readme_says() -> None:
    """Parameters, and multiply-adds in a second of a 4-s clip, attention included."""
    settings = load_full_experiment().network
    with torch.device("meta"):
        network, spectrum = DeepAsa(settings).eval(), torch.zeros(1, 2 * settings.channels, 4 * 50 + 1, BINS)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.say(spectrum)
    per_second = counter.get_total_flops() / 2 / 4
    readme = (Path(appliance.lab.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert f"{parameters / 1e6:.1f} M parameters, {per_second / 1e9:.0f} G multiply-adds" in readme


# --- scenes -----------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_scene_add_up_to_what_the_array_hears(scene: FullScene) -> None:
    """But for 16 bits and microphones that saturate."""
    total = (scene.direct + scene.reverb).sum(axis=0) + scene.noise
    assert scene.mixture.shape == total.shape == (4, SAMPLE_RATE_HZ)
    assert (si_sdr_db(total, scene.mixture) > 25.0).all()
    assert all(np.abs(part).max() > 1e-4 for part in (*scene.direct, *scene.reverb, scene.noise))


def test_objects_are_where_and_what_the_recipe_says(scene: FullScene) -> None:
    assert scene.class_index.tolist() == [_DRONE, _SPEECH]
    assert scene.activity.shape == (2, 10)
    assert scene.activity[0, 2:8].all()
    for slot, (x, y, z) in enumerate(((1.2, 1.6, 0.5), (-1.5, -1.0, -0.3))):
        np.testing.assert_allclose(scene.direction[slot, 5], np.array([x, y, z]) / np.linalg.norm([x, y, z]), atol=1e-3)
    # The rotor lies below 1.6 kHz, where the encoder is right.
    intensity = scene.direct[0][[3, 1, 2]] @ scene.direct[0][0]
    np.testing.assert_allclose(intensity / np.linalg.norm(intensity), scene.direction[0, 5], atol=0.05)


def test_what_has_no_class_or_no_slot_is_noise_and_an_empty_slot_is_silent() -> None:
    crowded = full_scene(recipe_of("train", "drone", "speech"), objects=1)
    alone = full_scene(recipe_of("drone"), objects=3)
    assert crowded.class_index.tolist() == [_DRONE]
    assert crowded.noise.std() > 2.0 * alone.noise.std()
    assert alone.class_index.tolist() == [_DRONE, -1, -1]
    assert not any(part[1:].any() for part in (alone.direct, alone.reverb, alone.activity, alone.direction))


def test_nothing_is_asked_of_a_planar_arrays_vertical_and_microphones_go_in_as_they_are() -> None:
    flat = full_scene(recipe_of("drone", array="respeaker_6mic_circular"), objects=2, as_microphones=True)
    assert flat.mixture.shape == (6, SAMPLE_RATE_HZ)
    assert not flat.direct[:, 2].any()
    np.testing.assert_allclose(
        flat.direction[0, 5], unit_vector(float(np.degrees(np.arctan2(1.6, 1.2))), 0.0), atol=1e-6
    )


# --- the loss ---------------------------------------------------------------------------------------------------------


def perfect(truth: dict[str, Tensor], order: list[int]) -> dict[str, Tensor]:
    """What a network says that knows everything, its slots in another order."""
    there = truth["class_index"] >= 0
    one_hot = torch.nn.functional.one_hot(truth["class_index"].clamp(min=0), len(CLASSES)) * there.unsqueeze(2)
    on = truth["activity"].unsqueeze(3) * one_hot.unsqueeze(2)
    said = {
        "direct": truth["direct"],
        "reverb": truth["reverb"],
        "on_logits": 40.0 * there - 20.0,
        "class_logits": 40.0 * one_hot.float(),
        "sed_logits": 40.0 * on - 20.0,
        "doa": truth["activity"].unsqueeze(3) * truth["direction"],
    }
    return {"noise": truth["noise"], **{name: value[:, order] for name, value in said.items()}}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 0, 2]])
def test_the_permutation_of_the_separation_serves_all(order: list[int]) -> None:
    truth = collate([full_scene(recipe_of("drone", "speech"), objects=3)])
    _, parts = asa_loss([perfect(truth, order)], truth)
    assert max(parts["separation"], parts["direct"], parts["reverb"]) < -20.0
    assert parts["noise"] < -10.0
    assert max(parts["sed"], parts["doa"], parts["on"]) < 1e-6
    # The empty slot wants all classes alike.
    assert parts["class"] == pytest.approx(np.log(len(CLASSES)) / 3, abs=1e-4)


def test_labels_in_other_slots_than_their_sound_are_wrong() -> None:
    truth = collate([full_scene(recipe_of("drone", "speech"), objects=2)])
    said = perfect(truth, [0, 1])
    crossed = said | {name: said[name].flip(1) for name in ("class_logits", "sed_logits", "doa")}
    _, parts = asa_loss([crossed], truth)
    assert parts["separation"] < -20.0
    assert parts["class"] > 10.0
    assert min(parts["sed"], parts["doa"]) > 0.05


def test_the_assignment_is_the_best_of_all() -> None:
    rng = torch.Generator().manual_seed(0)
    references = torch.randn(5, 4, 4, 50, generator=rng)
    estimates = references[:, [2, 0, 3, 1]] + 0.5 * torch.randn(5, 4, 4, 50, generator=rng)
    assert assignment(estimates, references).tolist() == [[1, 3, 0, 2]] * 5


def test_a_ratio_of_silence_is_finite_and_noise_in_its_place_costs() -> None:
    silent, floor = torch.zeros(1, 2, 4, 100), torch.ones(1)
    assert float(sa_sdr_db(silent, silent, floor)) == 0.0
    assert float(sa_sdr_db(silent + 0.5, silent, floor)) < -20.0


# --- training ---------------------------------------------------------------------------------------------------------


def test_it_learns_one_batch_by_heart(scene: FullScene) -> None:
    truth, network = collate([scene]), network_of(seed=1)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    course = []
    for _ in range(40):
        loss, parts = asa_loss(network(truth["mixture"]), truth)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        course.append({"loss": float(loss.detach()), **parts})
    first, last = course[0], course[-1]
    assert last["loss"] < first["loss"] - 10.0
    for name in ("separation", "direct", "class", "sed", "doa"):
        assert last[name] < first[name], name
    assert last["separation"] < -3.0


def small_training(**changes: object) -> FullTraining:
    scenes = FullSceneSettings(folds=(1,), seconds=0.5)
    whole = {"batch": 1, "network": _SMALL, "scenes": scenes, "decay_share": 0.0, "bfloat16": False}
    return FullTraining.model_validate({**whole, "warmup_steps": 1, **changes})


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    halves, straight = tmp_path / "halves", tmp_path / "straight"
    said: list[str] = []
    train_full(small_training(steps=2), halves, workers=0, log=said.append)
    path = train_full(small_training(steps=4), halves, workers=0, log=said.append)
    assert any("going on from" in line and "step 2" in line for line in said)
    other = train_full(small_training(steps=4), straight, workers=0, log=said.append)
    (network, settings), (expected, _) = load_full(path), load_full(other)
    assert settings == small_training(steps=4)
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match=r"last\.pt: a network of another size"):
        train_full(small_training(network=FullNetworkSettings(width=12)), halves, workers=0)


def test_the_command_trains_on_the_microphones_of_an_array(tmp_path: Path) -> None:
    experiment = tmp_path / "mine.toml"
    text = "batch = 1\n[network]\nchannels = 6\nwidth = 8\nblocks = 1\nheads = 2\nobjects = 2\nseries = 8\nrecurrence = 8\n"
    experiment.write_text(text + '[scenes]\nfolds = [1]\nseconds = 0.5\narray = "respeaker_6mic_circular"\n')
    args = ["lab", "train-full", str(tmp_path / "run"), "--experiment", str(experiment)]
    done = CliRunner().invoke(app, [*args, "--steps", "1", "--workers", "0", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "step 1/1 loss" in done.output
    network, _ = load_full(tmp_path / "run" / "last.pt")
    assert network.settings.channels == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[network]\nwidht = 3\n", r'mine\.toml: \[network\] widht: unknown key; did you mean "width"\?'),
        ("[network]\nchannels = 5\n", r"mine\.toml: .*network\.channels must be 4, as Ambisonics has"),
        ("[network]\nwidth = 10\n", r"network\.width must be a multiple of network\.heads"),
        ("steps = 'many'\n", r"mine\.toml: steps: .*integer"),
        ("steps = \n", r"mine\.toml: not a TOML file"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_full_experiment(path)


def test_the_other_command_does_not_take_it_for_one_of_its_own(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["lab", "train", str(tmp_path), "--experiment", "full"])
    assert "train it with `appliance lab train-full`" in str(done.exception)
    with pytest.raises(ConfigError, match=r"full\.toml: \[network\] .*unknown key"):
        load_experiment(str(FULL_EXPERIMENT))


def test_what_is_shipped_is_an_experiment() -> None:
    settings = load_full_experiment(FULL_EXPERIMENT, steps=7)
    assert (settings.steps, settings.network.width, settings.network.blocks) == (7, 64, 6)
