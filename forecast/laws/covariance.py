"""Standard errors of a fit: from the curvature, and the sandwich that stays right when the loss is not the noise's likelihood.

With scores s_i, Hessian H: model covariance sigma^2 H^-1, sandwich H^-1 (sum s_i s_i^T) H^-1 x n/(n-p)
(Huber 1967; White 1980; the n/(n-p) is HC1 of MacKinnon & White 1985). Both are mapped to the parameters' own units by the
delta method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.laws.law import FloatArray
from forecast.laws.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Covariances:
    """Of the free solver coordinates `u`, and of all parameters theta."""

    hessian: FloatArray
    """(free, free) Gauss-Newton information in u."""
    model: FloatArray
    sandwich: FloatArray
    noise_variance: float


def information(objective: Objective, u: FloatArray) -> FloatArray:
    """Curvature (free, free) at u of the objective with its second derivatives of the law left out: non-negative."""
    with np.errstate(all="ignore"):
        theta = objective.theta(u[None])
        scale = np.where(objective.is_log, theta[0, objective.free], 1.0)
        jacobian = objective.law.jacobian(objective.x, theta)[0][:, objective.free] * scale
        predicted = objective.law.predict(objective.x, theta)[0]
        _, first, second = objective.loss.terms(predicted, objective.y, objective.sigma, objective.space)
        # Fisher scoring: the loss's own curvature, not the part that the bend of a logarithm adds.
        weight = objective.weights * np.maximum(np.broadcast_to(second, predicted.shape), 0.0)
    del first
    return np.asarray((jacobian * weight[:, None]).T @ jacobian)


def covariances(objective: Objective, u: FloatArray) -> Covariances:
    """Covariances at an optimum u (free,)."""
    _, hessian = objective.derivatives(u[None])
    hess = hessian[0]
    scores, _ = objective.scores(u)
    rows = int(np.sum(objective.weights > 0))
    dof = max(rows - len(u), 1)
    inverse = safe_inverse(hess)
    meat = scores.T @ scores
    # Soft parameters: their pull is a measurement with a score of its own, whose expected square is its precision.
    theta = objective.theta(u[None])[0]
    scale = np.where(objective.is_log, theta[objective.free], 1.0)
    meat = meat + np.diag(objective.soft_precision * scale * scale)
    sandwich = inverse @ meat @ inverse * (rows / dof)
    if objective.loss.is_likelihood:
        noise = 1.0
    else:
        predicted = objective.law.predict(objective.x, theta[None])[0]
        value, _, _ = objective.loss.terms(predicted, objective.y, objective.sigma, objective.space)
        noise = float(2.0 * np.sum(objective.weights * value) / dof)
    size = len(objective.template)
    model_theta, sandwich_theta = np.zeros((size, size)), np.zeros((size, size))
    index = np.ix_(objective.free, objective.free)
    outer = np.outer(scale, scale)
    model_theta[index] = inverse * noise * outer
    sandwich_theta[index] = sandwich * outer
    return Covariances(hessian=hess, model=model_theta, sandwich=sandwich_theta, noise_variance=noise)


def safe_inverse(matrix: FloatArray) -> FloatArray:
    """Inverse of a symmetric matrix after scaling to unit diagonal; directions without curvature get a huge variance."""
    diagonal = np.abs(np.diagonal(matrix))
    scale = 1.0 / np.sqrt(np.maximum(diagonal, 1e-14 * max(float(np.max(diagonal, initial=0.0)), 1e-300)))
    scaled = matrix * scale[:, None] * scale[None, :]
    eigenvalues, vectors = np.linalg.eigh(np.where(np.isfinite(scaled), scaled, 0.0))
    positive = np.maximum(np.abs(eigenvalues), 1e-12)
    inverse = (vectors / positive) @ vectors.T
    return np.asarray(inverse * scale[:, None] * scale[None, :])
