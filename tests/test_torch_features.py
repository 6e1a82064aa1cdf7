"""The front end of training is the front end of the unit, value by value."""

import numpy as np
import torch

from appliance.dsp.features import FeatureExtractor
from appliance.dsp.stft import SAMPLE_RATE_HZ, stft
from appliance.geometry import load_array
from appliance.lab.scenes.torch_features import TorchFeatures
from appliance.types import AudioBlock


def test_torch_and_numpy_say_the_same_of_the_same_sound() -> None:
    geometry = load_array("tetrahedron_4cm2")
    rng = np.random.default_rng(0)
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    comb = sum(np.cos(2.0 * np.pi * 140.0 * order * time_s) for order in range(1, 12))
    samples = (0.05 * rng.standard_normal((4, len(time_s))) + 0.02 * comb).astype(np.float32)
    extractor = FeatureExtractor(geometry)
    expected = np.stack([frame.values for frame in extractor.push(AudioBlock(samples, SAMPLE_RATE_HZ, 0, 0))], axis=1)
    foa = np.ascontiguousarray(extractor.encoder.encode(stft(samples)).transpose(1, 0, 2))
    validity = torch.from_numpy(expected[5:7, 0])[None]
    found = TorchFeatures(torch.device("cpu")).features(torch.from_numpy(foa)[None], validity)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_torch_and_numpy_transform_alike() -> None:
    samples = np.random.default_rng(1).standard_normal(8000).astype(np.float32)
    padded = torch.from_numpy(np.concatenate([np.zeros(704, np.float32), samples]))
    found = TorchFeatures(torch.device("cpu")).stft(padded).numpy()
    np.testing.assert_allclose(found, stft(samples), atol=1e-3)
