"""Filters, as a plugin author sees them."""

from harness.core.filters import Algebra, Array, Codec, DownFilter, Filter, Items
from harness.core.ranks import RankSet

__all__ = ["Algebra", "Array", "Codec", "DownFilter", "Filter", "Items", "RankSet"]
