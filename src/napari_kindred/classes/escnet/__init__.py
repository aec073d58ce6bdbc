"""ESC-Net: CLIP says where a named class is, blocks of SAM make it sharp.

After Lee et al., "Effective SAM Combination for Open-Vocabulary Semantic Segmentation".
"""
