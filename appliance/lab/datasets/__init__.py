"""Public sets of sounds and scenes: where they come from, how they lie on disk, what their classes are for us."""
