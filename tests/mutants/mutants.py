"""All planted bugs."""

from __future__ import annotations

from comings_mutants import COMINGS_MUTANTS
from decompose_mutants import DECOMPOSE_MUTANTS
from front_end_mutants import FRONT_END_MUTANTS
from link_mutants import LINK_MUTANTS
from stream_mutants import STREAM_MUTANTS

MUTANTS = (*LINK_MUTANTS, *STREAM_MUTANTS, *DECOMPOSE_MUTANTS, *FRONT_END_MUTANTS, *COMINGS_MUTANTS)
