"""Latent spaces: every encoder turns images into a grid of tokens, behind one small protocol."""
