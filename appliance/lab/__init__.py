"""The laboratory: scenes, training, export, quantisation, evaluation. The only place that may import torch."""
