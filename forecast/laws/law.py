"""What a scaling law is: a formula with named parameters, its derivative, and where to begin fitting it.

A law takes plain arrays. `x` has one row per measurement and one column per input; `theta` one entry per parameter in its
last axis, and any number of leading axes, so that many starts or bootstrap replicates are evaluated at once. Where replicates
differ in their measurements, `x` may have the same leading axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Space(StrEnum):
    """Where residuals are taken."""

    LINEAR = "linear"
    LOG = "log"


class Role(StrEnum):
    """What a parameter does; the checks of identification ask for it by this name."""

    SHAPE = "shape"
    AMPLITUDE = "amplitude"
    EXPONENT = "exponent"
    IRREDUCIBLE = "irreducible"
    """What is left at infinite scale: bounded above by the smallest measurement."""
    FLOOR = "floor"
    """Lower asymptote of a rising curve, between 0 and the smallest measurement."""
    CEILING = "ceiling"
    """Upper asymptote: between the largest measurement and its bound."""
    STEEPNESS = "steepness"
    """How sharply a sigmoid falls, per unit of its input."""
    MIDDLE = "middle"
    """The input at which a sigmoid is half-way."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One constant of a law, its domain, and the values that the search begins from."""

    name: str
    meaning: str
    lower: float = -np.inf
    upper: float = np.inf
    log: bool = False
    """Whether the solver works on its logarithm; the domain must then be positive."""
    role: Role = Role.SHAPE
    grid: tuple[float, ...] = (1.0,)
    """Values to begin from; ignored for a linear parameter, which is solved for."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One column of x."""

    name: str
    unit: str
    typical: tuple[float, float]
    """Range in which the law is used: for examples and for checks on synthetic data."""
    positive: bool = True
    accepts: tuple[str, ...] = ()
    """Other columns that will do where there is none of this name, in order of preference (`forecast.laws.quantities`)."""


@dataclass(frozen=True, kw_only=True)
class PublishedFit:
    """Constants that a paper printed, by parameter name, with where they were printed."""

    source: str
    params: Mapping[str, float]
    note: str = ""
    superseded: bool = False
    """Whether later work found the numbers wrong: they are shown and not used."""


class Law(ABC):
    """One scaling law. Subclasses are stateless; each lives in its own file of `forecast.laws.formulas` as `LAW`."""

    name: ClassVar[str]
    title: ClassVar[str]
    formula: ClassVar[str]
    reference: ClassVar[str]
    inputs: ClassVar[tuple[Input, ...]]
    output: ClassVar[str]
    """Unit and meaning of y, for people."""
    outputs: ClassVar[tuple[str, ...]]
    """Metrics or quantities (`forecast.laws.quantities`) that y can be, in order of preference."""
    parameters: ClassVar[tuple[Parameter, ...]]
    space: ClassVar[Space] = Space.LINEAR
    """Where the law's authors, or good sense, take residuals."""
    output_positive: ClassVar[bool] = True
    output_fraction: ClassVar[bool] = False
    """Whether y lies in [0, 1]: only then are binomial losses meant."""
    linear: ClassVar[tuple[str, ...]] = ()
    """Parameters in which the law is linear when the others are held: they are eliminated by linear least squares."""
    costly: ClassVar[bool] = False
    """Whether a prediction is itself iterative: then only the starts that lead after some steps are polished to the end."""
    robust: ClassVar[bool] = False
    """Whether its authors fit it by a Huber loss (Hoffmann 2022, D.3), which is then the default."""
    flops_convention: ClassVar[str | None] = None
    """How the law's FLOPs must be counted (`FlopsConvention`), None where any one convention will do."""
    typical: ClassVar[Mapping[str, float]]
    """Plausible constants: for examples and for checks on synthetic data; never a prior."""
    published: ClassVar[tuple[PublishedFit, ...]] = ()

    def __repr__(self) -> str:
        """Name and formula, in one line."""
        return f"<Law {self.name}: {self.formula}>"

    @abstractmethod
    def predict(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """Return y of shape (..., rows) for x (rows, inputs), or (..., rows, inputs), and theta (..., parameters)."""

    @abstractmethod
    def jacobian(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """Return dy/dtheta of shape (..., rows, parameters)."""

    def slope(self, x: FloatArray, theta: FloatArray) -> FloatArray:
        """Return dy/dx of the first input, (..., rows): by central differences unless the law knows better."""
        step = 1e-6 * np.maximum(1.0, np.abs(x[..., :1])) * np.eye(x.shape[-1])[0]
        rise = self.predict(x + step, theta) - self.predict(x - step, theta)
        return np.asarray(rise / (2.0 * step[..., 0]))

    def curvature(self, x: FloatArray, theta: FloatArray, v: FloatArray) -> FloatArray | None:
        """Return sum_i v_i d2 y_i / dtheta2, (..., parameters, parameters); None lets the solver difference the Jacobian."""
        return None

    def starts(self, x: FloatArray, y: FloatArray) -> FloatArray | None:
        """Return starting points (starts, parameters), or None for the product of the parameters' grids."""
        return None

    def domain(self, x: FloatArray, y: FloatArray) -> Mapping[str, tuple[float, float]]:
        """Return tighter (lower, upper) for parameters that the measurements themselves bound, as the law's authors do."""
        return {}

    @property
    def printed(self) -> PublishedFit | None:
        """The first published constants that nobody has found wrong, None where there are none."""
        return next((fit for fit in self.published if not fit.superseded), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names in the order of theta."""
        return tuple(parameter.name for parameter in self.parameters)

    def vector(self, params: Mapping[str, float]) -> FloatArray:
        """Return theta for named values."""
        return np.array([float(params[name]) for name in self.names])


@dataclass(frozen=True, kw_only=True)
class SoftValue:
    """A parameter known roughly beforehand: a normal penalty around `mean` with standard deviation `sd`, in its own unit."""

    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What is known of parameters before fitting: held at a value, or pulled towards one. The others are free."""

    fixed: Mapping[str, float] = field(default_factory=dict)
    soft: Mapping[str, SoftValue] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Parameter -> (lower, upper), within its domain: an error rate's limits lie between 0 and 1, for example."""


def constants(**values: float) -> Mapping[str, float]:
    """Return named numbers that nobody can change.

    >>> constants(A=1.0)["A"]
    1.0
    """
    return MappingProxyType(values)


def unpack(theta: FloatArray) -> tuple[FloatArray, ...]:
    """Split theta (..., p) into p arrays of shape (..., 1) that broadcast against rows.

    >>> [part.shape for part in unpack(np.zeros((7, 2)))]
    [(7, 1), (7, 1)]
    """
    return tuple(theta[..., index, None] for index in range(theta.shape[-1]))


def stack(*columns: FloatArray) -> FloatArray:
    """Stack derivatives of shape (..., rows) into a Jacobian (..., rows, parameters), broadcasting constants."""
    return np.stack(np.broadcast_arrays(*columns), axis=-1)
