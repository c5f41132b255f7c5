"""Writes figures.json: golden values for common's metrics and risk modules.

Needs numpy, scipy, scikit-learn. Run: python3 make_figures.py
Everything here is computed by those packages or straight from the definitions, never by the
project's own formulas: DeLong's interval goes over all pairs instead of ranks.
"""

import json
import pathlib

import numpy as np
from scipy import ndimage, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score, roc_curve

HERE = pathlib.Path(__file__).parent
RNG = np.random.default_rng(20240607)
MASK64 = (1 << 64) - 1


def delong(scores, labels, confidence):
    """DeLong, DeLong and Clarke-Pearson 1988, equations 3 to 6, over all pairs."""
    x, y = scores[labels], scores[~labels]
    kernel = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    area = kernel.mean()
    v10, v01 = kernel.mean(axis=1), kernel.mean(axis=0)
    error = np.sqrt(np.var(v10, ddof=1) / len(x) + np.var(v01, ddof=1) / len(y))
    low, high = stats.norm.interval(confidence, loc=area, scale=error) if error > 0 else (area, area)
    return [area, max(low, 0.0), min(high, 1.0)]


def splitmix(seed):
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        yield z ^ (z >> 31)


def bootstrap(scores, labels, seed, resamples, confidence):
    stream, n, values = splitmix(seed), len(scores), []
    for _ in range(resamples):
        index = np.array([(next(stream) * n) >> 64 for _ in range(n)])
        if 0 < labels[index].sum() < n:
            values.append(roc_auc_score(labels[index], scores[index]))
    tail = (1 - confidence) / 2
    return [roc_auc_score(labels, scores), *np.quantile(values, [tail, 1 - tail])]


def shares():
    """Wilson's score interval, by SciPy."""
    cases = []
    for hits, n in [(0, 123), (1, 123), (5, 40), (17, 17), (250, 1000)]:
        for confidence in (0.8, 0.95):
            found = stats.binomtest(hits, n).proportion_ci(confidence, method="wilson")
            cases.append([hits, n, confidence, hits / n, found.low, found.high])
    return cases


def roc_case(name, scores, labels):
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    specificities = [0.0, 0.5, 0.8, 0.85, 0.9, 0.95, 1.0]
    return {
        "name": name,
        "scores": scores.tolist(),
        "positive": labels.tolist(),
        "auc": roc_auc_score(labels, scores),
        "delong": {str(c): delong(scores, labels, c) for c in (0.8, 0.95, 0.99)},
        "roc": [[float(t), a, 1 - b] for t, a, b in zip(thresholds[1:], tpr[1:], fpr[1:])],
        "sensitivity_at": [[s, tpr[1 - fpr >= s - 1e-12].max()] for s in specificities],
    }


def roc_cases():
    cases = []
    for name, n, share, digits in [
        ("continuous", 60, 0.3, None),
        ("ties", 80, 0.2, 1),
        ("coarse ties", 50, 0.5, 0),
        ("rare", 120, 0.05, 2),
    ]:
        labels = np.arange(n) < max(2, round(share * n))
        RNG.shuffle(labels)
        scores = RNG.normal(size=n) + 1.1 * labels
        cases.append(roc_case(name, scores if digits is None else np.round(scores, digits), labels))
    labels = np.array([False, False, True, True, False, True])
    cases.append(roc_case("perfect", np.array([0.1, 0.2, 0.8, 0.9, 0.3, 0.7]), labels))
    cases.append(roc_case("inverted", np.array([0.9, 0.8, 0.1, 0.2, 0.7, 0.3]), labels))
    cases.append(roc_case("constant", np.full(6, 0.5), labels))
    return cases


def risk_case(n, share, separation, spread):
    labels = np.arange(n) < max(1, round(share * n))
    RNG.shuffle(labels)
    ratios = np.clip(0.45 + separation * labels + spread * RNG.normal(size=n), 0.0, 1.0)
    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=100000, solver="lbfgs")
    model.fit(ratios[:, None], labels)
    probes = [0.0, 0.3, 0.5, 0.7, 1.0]
    return {
        "vcdr": ratios.tolist(),
        "glaucoma": labels.tolist(),
        "intercept": model.intercept_[0],
        "slope": model.coef_[0, 0],
        "probabilities": [[p, model.predict_proba([[p]])[0, 1]] for p in probes],
    }


def mask_case(width, height, share_a, share_b):
    a, b = RNG.random((height, width)) < share_a, RNG.random((height, width)) < share_b
    # zero_division gives the value for two empty masks, the convention of the project.
    dice = f1_score(a.ravel(), b.ravel(), zero_division=1.0)
    labels, count = ndimage.label(a, structure=np.ones((3, 3)))
    areas = np.sort(np.bincount(labels.ravel())[1:])[::-1]
    rows, columns = np.nonzero(a)
    return {
        "width": width,
        "height": height,
        "a": "".join("01"[int(v)] for v in a.ravel()),
        "b": "".join("01"[int(v)] for v in b.ravel()),
        "dice": float(dice),
        "component_areas": areas.tolist() if count else [],
        "centroid": [float(columns.mean()), float(rows.mean())] if count else None,
        "vertical_diameter": int(a.sum(axis=0).max()),
    }


def main():
    samples = [RNG.normal(3.0, 2.0, size=n).tolist() for n in (2, 3, 17)]
    curves = roc_cases()
    boot = curves[1]
    scores, labels = np.array(boot["scores"]), np.array(boot["positive"])
    figures = {
        "roc": curves,
        "bootstrap": {
            "scores": boot["scores"],
            "positive": boot["positive"],
            "seed": 42,
            "resamples": 200,
            "confidence": 0.9,
            "interval": bootstrap(scores, labels, 42, 200, 0.9),
        },
        "normal_quantile": [[p, stats.norm.ppf(p)] for p in (0.5, 0.6, 0.9, 0.975, 0.995, 0.9999)],
        "shares": shares(),
        "moments": [[s, np.mean(s), np.std(s, ddof=1)] for s in samples],
        "risk": [risk_case(*c) for c in [(40, 0.3, 0.2, 0.1), (400, 0.1, 0.25, 0.12), (12, 0.5, 0.4, 0.02)]],
        "masks": [mask_case(*c) for c in [(9, 7, 0.4, 0.5), (16, 16, 0.2, 0.3), (5, 8, 0.0, 0.4), (6, 6, 0.0, 0.0), (30, 20, 0.45, 0.4)]],
    }
    text = json.dumps(figures, allow_nan=False)
    (HERE / "figures.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
