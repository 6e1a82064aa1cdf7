"""What a site does not normally sound like: a memory of vectors, learned on the site, and how far from it a sound is."""
