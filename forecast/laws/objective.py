"""The function that is minimised: a weighted sum of losses, in the coordinates the solver works in.

Coordinates `u` are the free parameters: the logarithm of those whose domain is a positive scale, the parameter itself
otherwise. A batch of points (starts, or bootstrap replicates with weights of their own) is evaluated at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecast.laws.law import FloatArray, Law, Space
from forecast.laws.losses import BetaBinomial, Binomial, Loss

_DIFFERENCE = 1e-6
"""Step of the Jacobian's central difference, relative to a coordinate's size: (machine epsilon)^(1/3) rounded down."""

_LOG_LIMIT = 650.0
"""exp(650) is still a double."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """Sum over rows of weight x loss(prediction, y), plus normal penalties on soft parameters."""

    law: Law
    loss: Loss
    space: Space
    x: FloatArray
    """(rows, inputs)"""
    y: FloatArray
    """(rows,), or (batch, rows) when every point of the batch has measurements of its own."""
    sigma: FloatArray
    """(rows,): residuals are divided by it."""
    weights: FloatArray
    """(rows,), or (batch, rows) when every point of the batch has weights of its own."""
    template: FloatArray
    """(parameters,): values of the parameters that are not free."""
    free: NDArray[np.intp]
    is_log: NDArray[np.bool_]
    """(free,)"""
    lower: FloatArray
    """(free,): domain, in the parameter's own unit."""
    upper: FloatArray
    soft_mean: FloatArray
    """(free,), in the parameter's own unit."""
    soft_precision: FloatArray
    """(free,): 1 / sd^2 in units of the loss; zero where nothing pulls."""

    def theta(self, u: FloatArray) -> FloatArray:
        """Full parameter vectors (batch, parameters) of coordinates (batch, free)."""
        theta = np.broadcast_to(self.template, (*u.shape[:-1], len(self.template))).copy()
        theta[..., self.free] = np.where(self.is_log, np.exp(np.where(self.is_log, u, 0.0)), u)
        return theta

    def coordinates(self, theta: FloatArray) -> FloatArray:
        """Inverse of `theta`; parameters on a log scale must be positive."""
        values = theta[..., self.free]
        return np.where(self.is_log, np.log(np.where(self.is_log, values, 1.0)), values)

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Box (lower, upper) of the free parameters, in solver coordinates."""
        with np.errstate(divide="ignore", invalid="ignore"):
            lower = np.where(self.is_log, np.maximum(np.log(np.maximum(self.lower, 0.0)), -_LOG_LIMIT), self.lower)
            upper = np.where(self.is_log, np.minimum(np.log(np.maximum(self.upper, 0.0)), _LOG_LIMIT), self.upper)
        return lower, upper

    def hold(self, position: int, value: float) -> Objective:
        """Return the same with one free parameter (by position among the free) held at a value."""
        rest = np.delete(np.arange(len(self.free)), position)
        template = self.template.copy()
        template[self.free[position]] = value
        return replace(
            self,
            template=template,
            free=self.free[rest],
            is_log=self.is_log[rest],
            lower=self.lower[rest],
            upper=self.upper[rest],
            soft_mean=self.soft_mean[rest],
            soft_precision=self.soft_precision[rest],
        )

    def take(self, rows: NDArray[np.intp]) -> Objective:
        """Return the same on some of the rows; a loss that holds numbers for each row is thinned with them."""
        loss = self.loss
        if isinstance(loss, Binomial | BetaBinomial) and np.ndim(loss.n_items) == 1 and len(loss.n_items) == len(self.y):
            loss = replace(loss, n_items=loss.n_items[rows])
        return replace(
            self, loss=loss, x=self.x[rows], y=self.y[..., rows], sigma=self.sigma[rows], weights=self.weights[..., rows]
        )

    def _rows_weights(self, rows: NDArray[np.intp] | None) -> FloatArray:
        if self.weights.ndim == 1 or rows is None:
            return self.weights
        return self.weights[rows]

    def _rows_y(self, rows: NDArray[np.intp] | None) -> FloatArray:
        return self.y if self.y.ndim == 1 or rows is None else self.y[rows]

    def value(self, u: FloatArray, rows: NDArray[np.intp] | None = None) -> FloatArray:
        """Objective (batch,); `rows` says which of the batch's own weights each point uses."""
        theta = self.theta(u)
        with np.errstate(all="ignore"):
            terms = self.loss.terms(self.law.predict(self.x, theta), self._rows_y(rows), self.sigma, self.space)[0]
            weights = self._rows_weights(rows)
            total = np.sum(np.where(weights > 0, terms * weights, 0.0), axis=-1)
        return np.where(np.isfinite(total), total, np.inf) + self._penalty(theta)

    def _penalty(self, theta: FloatArray) -> FloatArray:
        gap = theta[..., self.free] - self.soft_mean
        return np.asarray(0.5 * np.sum(self.soft_precision * gap * gap, axis=-1))

    def _gradient(self, u: FloatArray, rows: NDArray[np.intp] | None) -> tuple[FloatArray, ...]:
        """Gradient in u, and what the Hessian is made of: theta, dy/du, first and second weighted loss derivatives."""
        theta = self.theta(u)
        jacobian_u = self.law.jacobian(self.x, theta)[..., self.free]
        scale = np.where(self.is_log, theta[..., self.free], 1.0)
        jacobian_u = jacobian_u * scale[..., None, :]
        _, first, second = self.loss.terms(self.law.predict(self.x, theta), self._rows_y(rows), self.sigma, self.space)
        weights = self._rows_weights(rows)
        first = np.where(weights > 0, first * weights, 0.0)
        second = np.where(weights > 0, second * weights, 0.0)
        gradient = (first[..., None, :] @ jacobian_u)[..., 0, :]
        gradient = gradient + self.soft_precision * (theta[..., self.free] - self.soft_mean) * scale
        return gradient, theta, scale, jacobian_u, first, second

    def derivatives(self, u: FloatArray, rows: NDArray[np.intp] | None = None) -> tuple[FloatArray, FloatArray]:
        """Gradient (batch, free) and Hessian (batch, free, free) in u."""
        with np.errstate(all="ignore"):
            gradient, theta, scale, jacobian_u, first, second = self._gradient(u, rows)
            gauss_newton = np.swapaxes(jacobian_u * second[..., None], -1, -2) @ jacobian_u
            bend = self.law.curvature(self.x, theta, first)
            if bend is None:
                bend_u = self._differenced_curvature(u, first)
            else:
                bend_u = bend[..., self.free[:, None], self.free] * scale[..., :, None] * scale[..., None, :]
                diagonal = np.where(self.is_log, (first[..., None, :] @ jacobian_u)[..., 0, :], 0.0)
                bend_u = bend_u + diagonal[..., None] * np.eye(len(self.free))
            soft = self.soft_precision * scale * scale
            hessian = gauss_newton + bend_u + soft[..., None] * np.eye(len(self.free))
        return gradient, hessian

    def _differenced_curvature(self, u: FloatArray, first: FloatArray) -> FloatArray:
        """sum_i first_i d2 y_i / du2 by central differences of the analytic Jacobian."""
        size = len(self.free)
        columns = np.empty((*u.shape[:-1], size, size))
        for index in range(size):
            step = _DIFFERENCE * np.maximum(1.0 if self.is_log[index] else 0.01, np.abs(u[..., index]))
            moved = []
            for sign in (1.0, -1.0):
                shifted = u.copy()
                shifted[..., index] += sign * step
                theta = self.theta(shifted)
                scale = np.where(self.is_log, theta[..., self.free], 1.0)
                jacobian = self.law.jacobian(self.x, theta)[..., self.free]
                moved.append((first[..., None, :] @ jacobian)[..., 0, :] * scale)
            columns[..., index] = (moved[0] - moved[1]) / (2.0 * step[..., None])
        columns = np.where(np.isfinite(columns), columns, 0.0)
        return np.asarray(0.5 * (columns + np.swapaxes(columns, -1, -2)))
