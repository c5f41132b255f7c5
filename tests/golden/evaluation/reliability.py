"""Golden values of the reliability curve: scikit-learn, SciPy.

    python tests/golden/evaluation/reliability.py

writes reliability.json beside this file.
"""

import json
import pathlib

import numpy as np
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

rng = np.random.default_rng(7)
p = np.round(rng.beta(0.7, 1.1, 157), 6)
y = (rng.random(157) < p**1.4).astype(int)
observed, predicted = calibration_curve(y, p, n_bins=10, strategy="uniform")
which = np.minimum((p * 10).astype(int), 9)
counts = [(int((which == b).sum()), int(y[which == b].sum())) for b in range(10) if (which == b).any()]
intervals = [binomtest(k, n).proportion_ci(0.95, method="wilson") for n, k in counts]
sizes = np.array([n for n, _ in counts])
golden = {
    "probabilities": p.tolist(),
    "classes": y.tolist(),
    "brier": brier_score_loss(y, p),
    "calibration_error": float((sizes * abs(observed - predicted)).sum() / sizes.sum()),
    "predicted": predicted.tolist(),
    "observed": observed.tolist(),
    "low": [i.low for i in intervals],
    "high": [i.high for i in intervals],
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(golden) + "\n")
