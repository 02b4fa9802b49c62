"""The tests of the simulator share small worlds and suites, which are plain modules beside them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
