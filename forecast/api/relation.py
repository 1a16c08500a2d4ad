"""A table of results as the libraries of a notebook want it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from forecast.core.errors import ForecastError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_PREVIEW_ROWS = 10


class Relation:
    """The rows of a query: read when they are first asked for, and kept.

    `.df()` gives a pandas DataFrame, `.arrow()` a pyarrow Table, `.pl()` a polars DataFrame (where polars is installed).
    """

    def __init__(self, read: Callable[[], Iterable[pa.RecordBatch]], *, title: str = "query") -> None:
        """Remember how to read the rows, and what to call them in one line."""
        self._read = read
        self._title = title
        self._table: pa.Table | None = None

    def arrow(self) -> pa.Table:
        """Return the rows as a pyarrow Table."""
        import pyarrow as pa

        if self._table is None:
            batches = list(self._read())
            self._table = pa.Table.from_batches(batches) if batches else pa.table({})
        return self._table

    def df(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def pl(self) -> Any:
        """Return the rows as a polars DataFrame.

        Raises:
            ForecastError: polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise ForecastError("polars is not installed", remedy="pip install polars, or use .df() or .arrow()") from None
        return polars.from_arrow(self.arrow())

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.arrow().column_names)

    @property
    def plot(self) -> Any:
        """Plotting methods of pandas: `lab.scores().plot.scatter("flops", "acc_norm", logx=True)`."""
        return self.df().plot

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.arrow().num_rows)

    def __repr__(self) -> str:
        """Name, size and columns, in one line."""
        return f"<{self._title}: {len(self):,} rows; columns {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """The first rows, for a notebook."""
        html: str = self.arrow().slice(0, _PREVIEW_ROWS).to_pandas().to_html()
        return html + f"<p>{len(self):,} rows</p>"
