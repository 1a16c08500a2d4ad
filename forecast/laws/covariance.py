"""Standard errors of a fit: from the curvature, and the sandwich that stays right when rows differ in noise.

With residual scores psi_i g_i (g the derivative of the prediction, psi that of the loss) and information
H = sum psi'_i g_i g_i^T:
model covariance    mean(psi^2) / mean(psi') x n/(n-p) x H^-1   (Huber 1964; for least squares sigma^2 H^-1),
sandwich            H^-1 (sum psi_i^2 / (1 - h_i)^2 g_i g_i^T) H^-1   (MacKinnon & White 1985, HC3; h_i the leverage).
Both are carried to the parameters' own units by the delta method. Huber's psi' is an indicator of the few rows within delta:
it is replaced by its kernel estimate, without which H would rest on those rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from forecast.laws.law import FloatArray, Space
from forecast.laws.losses import Huber
from forecast.laws.objective import Objective

_MAX_LEVERAGE = 0.95
"""A row that its own parameters fit exactly has leverage 1 and says nothing of the noise."""


@dataclass(frozen=True, kw_only=True)
class Covariances:
    """Covariance of all parameters theta (parameters, parameters); zero for parameters that are not free."""

    model: FloatArray
    sandwich: FloatArray
    noise_variance: float
    """Variance of the standardised residual; 1 for likelihoods."""
    dof: int


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What each row contributes at a point: everything in solver coordinates."""

    gradient: FloatArray
    """(rows, free): derivative of the standardised residual, or of the prediction for likelihoods."""
    psi: FloatArray
    curvature: FloatArray
    """psi' (rows,), smoothed for Huber, never negative."""
    scale: FloatArray
    """(free,): d theta / d u."""


def row_terms(objective: Objective, u: FloatArray) -> Rows:
    """Return each row's gradient, psi and psi' at u (free,)."""
    with np.errstate(all="ignore"):
        theta = objective.theta(u[None])[0]
        scale = np.where(objective.is_log, theta[objective.free], 1.0)
        gradient = objective.law.jacobian(objective.x, theta)[:, objective.free] * scale
        gradient = np.where(np.isfinite(gradient), gradient, 0.0)
        f = objective.law.predict(objective.x, theta)
        _, psi, curvature = objective.loss.terms(f, objective.y, objective.sigma, objective.space)
        if not objective.loss.is_likelihood:
            log = (getattr(objective.loss, "space", None) or objective.space) is Space.LOG
            slope = 1.0 / ((f if log else 1.0) * objective.sigma)
            residual = (np.log(f) - np.log(objective.y) if log else f - objective.y) / objective.sigma
            # The curvature of the logarithm is not curvature of the loss: take it out again.
            curvature = (curvature + (psi / f if log else 0.0)) / slope**2
            psi = psi / slope
            gradient = gradient * slope[:, None]
            if isinstance(objective.loss, Huber):
                curvature = _smoothed_indicator(residual, objective.loss.delta)
        curvature = np.maximum(np.broadcast_to(curvature, psi.shape), 0.0)
    return Rows(gradient=gradient, psi=psi, curvature=curvature, scale=scale)


def _smoothed_indicator(residual: FloatArray, delta: float) -> FloatArray:
    """P(|r + h Z| <= delta) for each residual, h Silverman's bandwidth: its mean estimates that of Huber's psi'."""
    spread = min(float(np.std(residual)), float(np.subtract(*np.quantile(residual, [0.75, 0.25]))) / 1.34)
    h = 0.9 * spread * len(residual) ** -0.2
    if h <= 1e-3 * delta:
        return (np.abs(residual) <= delta).astype(np.float64)
    return np.asarray(special.ndtr((delta - residual) / h) - special.ndtr((-delta - residual) / h))


def covariances(objective: Objective, u: FloatArray) -> Covariances:
    """Covariances at an optimum u (free,)."""
    rows = row_terms(objective, u)
    weights = objective.weights
    used = int(np.sum(weights > 0))
    dof = max(used - len(u), 1)
    soft = np.diag(objective.soft_precision * rows.scale**2)
    hessian = (rows.gradient * (weights * rows.curvature)[:, None]).T @ rows.gradient + soft
    inverse = safe_inverse(hessian)
    leverage = weights * rows.curvature * np.einsum("ni,ij,nj->n", rows.gradient, inverse, rows.gradient)
    mean_weight = float(np.sum(weights))
    if objective.loss.is_likelihood:
        factor, noise = 1.0, 1.0
    else:
        noise = float(np.sum(weights * rows.psi**2)) / mean_weight * used / dof
        factor = noise / max(float(np.sum(weights * rows.curvature)) / mean_weight, 1e-300)
    scores = (weights * rows.psi / (1.0 - np.minimum(leverage, _MAX_LEVERAGE)))[:, None] * rows.gradient
    sandwich = inverse @ (scores.T @ scores + soft * (1.0 if objective.loss.is_likelihood else noise)) @ inverse
    model = inverse * factor
    size = len(objective.template)
    model_theta, sandwich_theta = np.zeros((size, size)), np.zeros((size, size))
    index = np.ix_(objective.free, objective.free)
    outer = np.outer(rows.scale, rows.scale)
    model_theta[index] = model * outer
    sandwich_theta[index] = sandwich * outer
    return Covariances(model=model_theta, sandwich=sandwich_theta, noise_variance=noise, dof=dof)


def statistic_scale(objective: Objective, u: FloatArray) -> float:
    """Return k, which makes 2 k (Q(held) - Q(best)) a squared t statistic: mean(psi') / mean(psi^2), or 1 for a likelihood."""
    if objective.loss.is_likelihood:
        return 1.0
    rows = row_terms(objective, u)
    weights = objective.weights
    used = int(np.sum(weights > 0))
    spread = float(np.sum(weights * rows.psi**2)) * used / max(used - len(u), 1)
    return float(np.sum(weights * rows.curvature)) / max(spread, 1e-300)


def safe_inverse(matrix: FloatArray) -> FloatArray:
    """Inverse of a symmetric matrix after scaling to unit diagonal; directions without curvature get a huge variance."""
    diagonal = np.abs(np.diagonal(matrix))
    scale = 1.0 / np.sqrt(np.maximum(diagonal, 1e-14 * max(float(np.max(diagonal, initial=0.0)), 1e-300)))
    scaled = matrix * scale[:, None] * scale[None, :]
    eigenvalues, vectors = np.linalg.eigh(np.where(np.isfinite(scaled), scaled, 0.0))
    inverse = (vectors / np.maximum(eigenvalues, 1e-13)) @ vectors.T
    return np.asarray(inverse * scale[:, None] * scale[None, :])
