"""DeepASA-Edge: offline = streaming, causal, and the same in ONNX Runtime. Weights are random: parity is structure."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from appliance.dsp.features import BANDS, FEATURES
from appliance.dsp.stft import HOPS_PER_LABEL
from appliance.lab.edge.export import OPSET, OUTPUTS, export_step_graph, write_meta
from appliance.lab.edge.layers import MEMORY_S, MinGru
from appliance.lab.edge.network import DeepAsaEdge, NetworkSettings
from appliance.lab.edge.parity import largest_difference, step_graph_outputs, torch_outputs

_LABELS = 23


@pytest.fixture(scope="module")
def network() -> DeepAsaEdge:
    torch.manual_seed(5)
    net = DeepAsaEdge(NetworkSettings())
    with torch.no_grad():  # batch normalisation as after training: no statistic is left at its default
        for name, value in net.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0.0, 0.3)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
        for name, weight in net.named_parameters():
            if "head_correction" in name or "modulate" in name:  # zero before training: nothing would be tested
                weight.normal_(0.0, 0.1)
    return net.eval()


@pytest.fixture(scope="module")
def features() -> npt.NDArray[np.float32]:
    values = np.random.default_rng(2).uniform(-1.0, 1.0, (FEATURES, _LABELS * HOPS_PER_LABEL, BANDS))
    return values.astype(np.float32)


@pytest.mark.parametrize("chunks", [[1] * _LABELS, [3, 7, 1, 12], [22, 1]])
def test_streaming_equals_offline(network: DeepAsaEdge, features: npt.NDArray[np.float32], chunks: list[int]) -> None:
    whole = torch_outputs(network, features, [_LABELS])
    difference = largest_difference(whole, torch_outputs(network, features, chunks))
    assert max(difference.values()) <= 1e-4, difference


def test_the_future_changes_nothing_now(network: DeepAsaEdge, features: npt.NDArray[np.float32]) -> None:
    changed = features.copy()
    changed[:, 15 * HOPS_PER_LABEL :] *= -1.0
    one, other = (torch_outputs(network, values, [_LABELS]) for values in (features, changed))
    for name in ("activity", "class_probs", "doa"):
        np.testing.assert_array_equal(one[name][:15], other[name][:15])
        assert np.abs(one[name][15:] - other[name][15:]).max() > 1e-4
    np.testing.assert_array_equal(one["mask"][:, : 15 * HOPS_PER_LABEL], other["mask"][:, : 15 * HOPS_PER_LABEL])


def test_what_was_heard_long_ago_is_forgotten() -> None:
    """A gate that is all but shut gathers for as long as a sound lasts; the state it leaves must not outlast its use."""
    torch.manual_seed(0)
    recurrence = MinGru("gru", 4, 3, 1)
    torch.nn.init.zeros_(recurrence.gate_and_candidate.weight)
    assert recurrence.gate_and_candidate.bias is not None
    torch.nn.init.constant_(recurrence.gate_and_candidate.bias, -12.0)
    state = {"gru": torch.full((1, 3, 1, 1), 5.0)}
    with torch.no_grad():
        heard = recurrence(torch.zeros(1, 4, round(3 * MEMORY_S / 0.1), 1), state, {})
    assert float(heard[0, :, 0].abs().min()) > 4.9
    assert float(heard[0, :, -1].abs().max()) < 5.0 * 0.06


def test_a_head_that_is_left_out_is_not_in_the_graph(network: DeepAsaEdge, tmp_path: Path) -> None:
    import onnx

    names = []
    for outputs in (OUTPUTS, ("scene_embedding",)):
        export_step_graph(network, tmp_path / "some.onnx", outputs)
        names.append({value.name for value in onnx.load(str(tmp_path / "some.onnx")).graph.output})
    assert names[0] - names[1] == {"mask", "direct_mask"}
    assert {"activity", "class_probs", "doa", "doa_sigma_deg", "scene_embedding"} <= names[1]


def test_without_the_chain_of_inference_the_first_heads_speak(features: npt.NDArray[np.float32]) -> None:
    torch.manual_seed(5)
    network = DeepAsaEdge(NetworkSettings(width=16, blocks=1, head=16, object_width=8))
    with torch.no_grad():
        dict(network.named_parameters())["refinements.0.head_correction.weight"].normal_()
    whole = torch_outputs(network, features, [_LABELS])
    network.cut_chain(0)
    assert not any(name.startswith("coi") for name in network.initial_state())
    assert largest_difference(whole, torch_outputs(network, features, [_LABELS]))["activity"] > 1e-3


def test_onnx_equals_torch(network: DeepAsaEdge, features: npt.NDArray[np.float32], tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    export_step_graph(network, path)
    write_meta(path, network, precision="fp32", training={}, scores={})
    difference = largest_difference(torch_outputs(network, features, [_LABELS]), step_graph_outputs(path, features))
    assert max(difference.values()) <= 1e-4, difference


def test_the_graph_is_what_every_runtime_reads(network: DeepAsaEdge, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "random.onnx"
    export_step_graph(network, path)
    model = onnx.load(str(path))
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    assert not {"GRU", "LSTM", "BatchNormalization", "Loop", "Scan"} & {node.op_type for node in model.graph.node}
    for name, state in network.initial_state().items():
        for value in (*model.graph.input, *model.graph.output):
            if value.name in (name, f"next_{name}"):
                assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == list(state.shape)


def test_probabilities_and_directions_are_well_formed(network: DeepAsaEdge, features: npt.NDArray[np.float32]) -> None:
    out = torch_outputs(network, features, [_LABELS])
    np.testing.assert_allclose(np.linalg.norm(out["doa"], axis=2), 1.0, atol=1e-3)
    assert (out["class_probs"].sum(axis=2) <= 1.0 + 1e-5).all()
    assert (out["mask"].sum(axis=0) <= 1.0 + 1e-5).all()
