"""Recovering the sound of one object: masks, beams, MVDR, stems and what can be made of them. NumPy and SciPy only."""
