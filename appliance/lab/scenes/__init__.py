"""Training scenes: drawn in batches in the STFT domain, on the device that learns."""
