"""Latent spaces: images to grids of tokens, behind one small protocol."""
