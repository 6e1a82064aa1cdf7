"""The field's scores: detection, events, SELD, separation, tracks, novelty, reliability."""
