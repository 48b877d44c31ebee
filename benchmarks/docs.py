"""Puts the tables of `results/` into the pages that show them: `python -m benchmarks.docs`.

A page says `<!-- results: costs.md -->` where `results/costs.md` is to stand, and `<!-- end of results -->`
behind it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.measuring import RESULTS

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "docs/explanation/design.md",
    "docs/explanation/costs.md",
    "docs/explanation/distance.md",
    "docs/explanation/transactions.md",
)
MARKED = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with today's tables."""
    return MARKED.sub(lambda match: f"{match[1]}\n{(RESULTS / match[2]).read_text()}\n{match[3]}", page)


def main() -> None:
    """Fill the pages that are not in step, and name them."""
    for name in PAGES:
        page = (ROOT / name).read_text()
        if filled(page) != page:
            (ROOT / name).write_text(filled(page))
            sys.stdout.write(f"{name} has new tables\n")


if __name__ == "__main__":
    main()
