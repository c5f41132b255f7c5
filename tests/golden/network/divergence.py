"""Limits of least Kullback-Leibler divergence for a decaying distribution with one value far out.

The golden values of host-train/src/network/grid.rs, from a histogram of the values themselves.
Needs numpy and scipy.
"""

import numpy as np
from scipy.stats import entropy

BINS = 2048


def limit(values, steps):
    counts, edges = np.histogram(values, bins=BINS, range=(0, values.max()))
    counts = counts.astype(float)
    best = (np.inf, None)
    for bins in range(steps + 1, BINS + 1):
        truth = counts[:bins].copy()
        truth[-1] += counts[bins:].sum()
        rounded = np.zeros(bins)
        for part in split(bins, steps):
            own = counts[:bins][part]
            if (own > 0).any():
                rounded[part] = np.where(own > 0, own.sum() / (own > 0).sum(), 0)
        rounded = np.maximum(rounded / rounded.sum(), np.where(truth > 0, 1e-12, 0))
        found = entropy(truth, rounded)
        if found < best[0]:
            best = (found, edges[bins])
    return best[1]


def split(bins, steps):
    edges = [level * bins // steps for level in range(steps + 1)]
    return [slice(a, b) for a, b in zip(edges, edges[1:])]


k = np.arange(1, 200_000)
values = np.append(-np.log(1 - k / 200_000), 25.0)
for steps in (127, 255):
    print(steps, limit(values, steps))
