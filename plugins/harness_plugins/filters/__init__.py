"""The built-in filters."""

from __future__ import annotations

from collections.abc import Mapping

from harness.api.filters import DownFilter, Filter
from harness.hookspecs import hookimpl
from harness_plugins.filters.additive import Average, Count, Histogram, Sum
from harness_plugins.filters.concat import Concat
from harness_plugins.filters.down import Clamp, NullDown, Quantize
from harness_plugins.filters.extremes import Maximum, Minimum, TopK
from harness_plugins.filters.null import Null
from harness_plugins.filters.sets import Classes, Union

__all__ = [
    "DOWN_FILTERS",
    "FILTERS",
    "Average",
    "Clamp",
    "Classes",
    "Concat",
    "Count",
    "Histogram",
    "Maximum",
    "Minimum",
    "Null",
    "NullDown",
    "Quantize",
    "Sum",
    "TopK",
    "Union",
    "harness_down_filters",
    "harness_filters",
]

FILTERS: Mapping[str, type[Filter]] = {
    "sum": Sum,
    "count": Count,
    "average": Average,
    "min": Minimum,
    "max": Maximum,
    "concat": Concat,
    "union": Union,
    "classes": Classes,
    "top-k": TopK,
    "histogram": Histogram,
    "null": Null,
}
DOWN_FILTERS: Mapping[str, type[DownFilter]] = {"null": NullDown, "clamp": Clamp, "quantize": Quantize}


@hookimpl
def harness_filters() -> Mapping[str, type[Filter]]:
    """Kinds for `case.filter`."""
    return FILTERS


@hookimpl
def harness_down_filters() -> Mapping[str, type[DownFilter]]:
    """Kinds for `case.down_filter`."""
    return DOWN_FILTERS
