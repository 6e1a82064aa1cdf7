"""The acoustic world: a scene as a recipe, and what an array of microphones makes of it, sample by sample."""
