"""What the clean machine's script reads."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_list_of_debian_packages_gives_bare_names() -> None:
    # A name that kept the blanks before its remark was refused by apt-get.
    names = subprocess.run([ROOT / ".ci" / "packages"], capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    assert "procps" in names
    assert [n for n in names if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", n)] == []
