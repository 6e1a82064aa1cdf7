"""Front end: STFT, first-order Ambisonics, band features, SRP-PHAT. NumPy only, the same code on the unit and in training."""
