"""Sounds from physics, to widen what was recorded: each module makes signals (n,) at 16 kHz."""
