"""What DeepASA-Edge has to be better than: detectors without training, and two networks."""
