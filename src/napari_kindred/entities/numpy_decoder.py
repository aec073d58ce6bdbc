"""Labels from the maps of the entity network, with NumPy alone.

A short stand-in for the package's own decoding, for programs that run the exported network: no
score, no filling of holes, and labels at the maps' own resolution, every second pixel.
"""

import numpy as np


def labels_of(
    maps: np.ndarray, threshold: float = 0.6, min_area: int = 12, stride: int = 2
) -> np.ndarray:
    """Return labels (h, w) int32 of the maps (4, h, w) of one image: 0 is background.

    Channels of the maps: background (log odds), offset along y and x to the object's centre
    (pixels of the image), and size (log2 of the diameter over 24 pixels).
    """
    background, along_y, along_x, size = np.asarray(maps, np.float64)
    mask = background <= -np.log(threshold / (1 - threshold))
    rows, columns = np.nonzero(mask)
    votes = np.stack([rows * stride + along_y[mask], columns * stride + along_x[mask]], 1)
    diameter = 24 * 2.0 ** size[mask]
    density = np.zeros(np.add(mask.shape, 2))
    cells = np.clip(np.rint(votes / stride).astype(int), 0, np.subtract(mask.shape, 1)) + 1
    np.add.at(density, tuple(cells.T), 1 / diameter**2)
    density = np.sum([np.roll(density, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)], 0)
    modes, free = np.zeros((0, 3)), np.ones(len(votes), bool)
    for seed in np.argsort(-density[tuple(cells.T)], kind="stable"):
        if not free[seed]:
            continue
        reach, centre = 0.29 * diameter[seed], votes[seed]  # lines of two objects are 45° apart
        for _ in range(4):  # mean-shift with a flat kernel
            near = np.hypot(*(votes - centre).T) <= reach
            centre = votes[near].mean(0) if near.any() else centre
        known = np.hypot(*(modes[:, :2] - centre).T) <= np.maximum(modes[:, 2], reach)
        if not known.any() and near.sum() * stride**2 >= 0.15 * diameter[seed] ** 2:
            modes = np.vstack([modes, [*centre, reach]])
        free[near] = False
    best, owner = np.full(len(votes), 3.0), np.zeros(len(votes), np.int32)
    for number, (y, x, reach) in enumerate(modes, 1):
        away = np.hypot(*(votes - (y, x)).T) / reach
        owner[away < best], best = number, np.minimum(best, away)
    owner[np.bincount(owner)[owner] * stride**2 < min_area] = 0
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.unique(np.append(0, owner), return_inverse=True)[1][1:]
    return labels
