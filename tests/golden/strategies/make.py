"""Golden weights of the methods that combine gradients, from torchjd 0.18 in double precision.

    python tests/golden/strategies/make.py

writes weights.json beside this file: for random gradients of two to four tasks their Gram matrix and
the weights that each method gives. Needs torch, torchjd, scipy, and for torchjd's own CAGrad and
Nash-MTL cvxpy, clarabel and ecos.

Conventions, where torchjd's differ from the project's:
- PCGrad draws its orders from torch.randperm; here they are given, and stored with the case.
- MGDA iterates Frank-Wolfe steps, which approach the answer slowly: it is compared to 3e-3, and the
  stored weights are the exact ones by scipy's nonnegative least squares.
- CAGrad works on a normalised matrix with an eps added; it is compared only to 1e-3, and the stored
  weights are those of scipy's SLSQP on the dual as the paper states it.
- IMTL-G's weights are scaled to sum 1 even where that turns the direction round; the project does not
  follow it there, so such cases are left out.
- Nash-MTL solves `G a = 1 / a` by convex approximations to a coarse tolerance, then limits the length.
  Without the limit, and where it arrives, it is compared to 1e-2; the stored weights are scipy's root of the
  equation itself.
- Aligned-MTL is the same (equal preferences 1/T, the smallest eigenvalue's scale).
"""

import json
import pathlib

import numpy as np
import torch
from scipy import optimize
from torchjd.aggregation import CAGrad, NashMTL
from torchjd.aggregation import AlignedMTL, IMTLG, MGDA, PCGrad

HERE = pathlib.Path(__file__).parent
CASES = 40
C = 0.4


def gradients(rng):
    """Two to four gradients of six numbers that lean on a common direction and differ in length."""
    tasks = int(rng.integers(2, 5))
    common = rng.normal(size=6) * rng.uniform(-0.5, 1.0)
    lengths = 10.0 ** rng.uniform(-1, 1, size=(tasks, 1))
    return (rng.normal(size=(tasks, 6)) + common) * lengths


def pcgrad(gram, orders):
    drawn = iter(orders)
    randperm, torch.randperm = torch.randperm, lambda _n: torch.tensor(next(drawn))
    try:
        return PCGrad().gramian_weighting(gram).numpy()
    finally:
        torch.randperm = randperm


def mgda(rows, gram):
    """The shortest combination: nonnegative least squares of `J'w = 0` and `sum w = 1`, scaled."""
    rows = rows / np.abs(rows).max()
    tasks = len(rows)
    exact, _ = optimize.nnls(np.vstack([rows.T, np.ones(tasks)]), np.r_[np.zeros(rows.shape[1]), 1.0])
    exact /= exact.sum()
    steps = MGDA(epsilon=1e-9, max_iters=3000).gramian_weighting(gram).numpy()
    assert close(steps, exact, 3e-3), (steps, exact)
    return exact


def cagrad(gram):
    tasks = len(gram)
    mean = np.ones(tasks) / tasks
    radius = C * np.sqrt(mean @ gram @ mean)
    dual = lambda w: w @ gram @ mean + radius * np.sqrt(w @ gram @ w)
    best = None
    for start in [mean, *np.eye(tasks)]:
        found = optimize.minimize(
            dual, 0.9 * start + 0.1 * mean, bounds=[(0, 1)] * tasks, method="SLSQP",
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-16, "maxiter": 1000},
        )
        best = found if best is None or found.fun < best.fun else best
    return mean + radius / np.sqrt(best.x @ gram @ best.x) * best.x


def nash(gram):
    # On unit vectors, in logarithms so that the weights are positive.
    lengths = np.sqrt(np.diag(gram))
    unit = gram / np.outer(lengths, lengths)
    equations = lambda x: np.exp(x) * (unit @ np.exp(x)) - 1
    found = optimize.least_squares(equations, np.zeros(len(gram)), xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert np.abs(found.fun).max() < 1e-9, found
    return np.exp(found.x) / lengths


def close(a, b, tolerance):
    return np.abs(np.asarray(a) - b).max() <= tolerance * np.abs(b).max()


def main():
    rng = np.random.default_rng(3)
    cases, arrived = [], 0
    while len(cases) < CASES:
        rows = gradients(rng)
        array = rows @ rows.T
        gram = torch.from_numpy(array)
        tasks = len(array)
        imtl = IMTLG().gramian_weighting(gram).numpy()
        unscaled = np.linalg.solve(array, np.sqrt(np.diag(array)))
        if unscaled.sum() < 0.01 * np.abs(unscaled).sum():
            continue
        orders = [rng.permutation(tasks).tolist() for _ in range(tasks)]
        exact_cagrad, exact_nash = cagrad(array), nash(array)
        other = CAGrad(c=C, norm_eps=1e-9).gramian_weighting(gram).numpy()
        assert close(other, exact_cagrad, 1e-3), (other, exact_cagrad)
        bargain = NashMTL(n_tasks=tasks, max_norm=0.0, optim_niter=50).weighting
        other = bargain(torch.from_numpy(rows)).numpy()
        # The published iteration does not always arrive; where it does, it is at the same place.
        if np.abs(other * (array @ other) - 1).max() < 1e-2:
            assert close(other, exact_nash, 1e-2), (other, exact_nash)
            arrived += 1
        cases.append({
            "gram": array.tolist(),
            "orders": orders,
            "pcgrad": pcgrad(gram, orders).tolist(),
            "mgda": mgda(rows, gram).tolist(),
            "cagrad": exact_cagrad.tolist(),
            "imtl": imtl.tolist(),
            "nash": exact_nash.tolist(),
            "aligned": AlignedMTL().gramian_weighting(gram).tolist(),
        })
    assert arrived >= CASES // 2, arrived
    (HERE / "weights.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
