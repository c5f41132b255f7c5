"""Golden values of a calibration's statistics: numpy.

    python tests/golden/calibration/make.py

writes figures.json beside this file.
"""

import json
import pathlib

import numpy as np

MOST = 64


def table(scores, positive, own):
    """Every threshold of four decimals at which the counts change; the Pareto front of those, and `own`."""
    scores, positive = np.array(scores), np.array(positive, bool)
    thresholds = np.unique(np.floor(scores * 1e4).astype(int))
    thresholds[0] = 0
    rows = []
    for step in thresholds:
        referred = scores >= step / 1e4
        rows.append((step / 1e4, referred[positive].mean(), (~referred[~positive]).mean()))

    def beaten(row):
        return any(
            other[1] >= row[1] and other[2] >= row[2] and (other[1] > row[1] or other[2] > row[2])
            for other in rows
        )

    front = [row for row in rows if row[1] > 0 and not beaten(row)]
    if len(front) > MOST - 1:
        front = [front[i * (len(front) - 1) // (MOST - 2)] for i in range(MOST - 1)]
    if own not in [row[0] for row in front]:
        referred = scores >= own
        front.append((own, referred[positive].mean(), (~referred[~positive]).mean()))
        front.sort()
    return [list(map(float, row)) for row in front]


def error_range(errors, share):
    tail = (1 - share) / 2
    if len(errors) * tail < 1 - 1e-9:
        return [min(errors), max(errors)]
    return np.quantile(errors, [tail, 1 - tail]).tolist()


rng = np.random.default_rng(20)
tables = []
for n, noise, digits, own in [(12, 0.3, 2, 0.5), (60, 0.5, 6, 0.99), (400, 0.05, 9, 0.5), (40, 0.0, 1, 0.6)]:
    positive = rng.random(n) < 0.5
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * positive, 0.1 + noise, n), 0, 1), digits)
    tables.append({"scores": scores.tolist(), "positive": positive.astype(int).tolist(), "own": own, "rows": table(scores, positive, own)})
ranges = []
for n, share in [(1, 0.9), (4, 0.9), (19, 0.9), (20, 0.9), (150, 0.9), (37, 0.5)]:
    errors = np.round(rng.normal(-0.05, 0.15, n), 6).tolist()
    ranges.append({"errors": errors, "share": share, "range": error_range(errors, share)})
bounds = []
for n, beyond in [(10, 0.02), (50, 0.02), (80, 0.05), (260, 0.02)]:
    values = np.round(rng.beta(2, 5, n), 6).tolist()
    exact = float(np.quantile(values, 1 - beyond))
    bound = None if n * beyond < 1 - 1e-9 else float(np.ceil(exact * 100 - 1e-9) / 100)
    bounds.append({"values": values, "beyond": beyond, "bound": bound})
golden = {"tables": tables, "ranges": ranges, "bounds": bounds}
pathlib.Path(__file__).with_name("figures.json").write_text(json.dumps(golden) + "\n")
