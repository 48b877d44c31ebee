"""The table of probes in docs/reference/doctor.md: `python -m tests.doctor.reference` writes it anew."""

from itertools import groupby
from pathlib import Path

from do_bridge.doctor import PROBES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "doctor.md"
BEGIN, END = "<!-- probes: a test compares them with the code -->\n", "<!-- end of probes -->"


def table() -> str:
    """Return the probes as Markdown, a table for each group."""
    lines = []
    for group, probes in groupby(PROBES, lambda probe: probe.group):
        lines += [
            "",
            f"### {group}",
            "",
            "| probe | on | fact | why it matters | if it fails |",
            "|" + "---|" * 5,
        ]
        for probe in probes:
            cells = (f"`{probe.name}`", ", ".join(probe.on), probe.fact, probe.why, probe.fix)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, "", ""])


def differences() -> str:
    """Return the known differences of the local runtime as a Markdown table."""
    rows = [f"| `{p.name}` | {on} | {words} |" for p in PROBES for on, words in p.local.items()]
    return "\n".join(["", "| probe | on | local only |", "|---|---|---|", *rows, "", ""])


def written() -> tuple[str, str]:
    """Return what the page has of both."""
    page = PAGE.read_text()
    first, second = page.split(BEGIN)[1:]
    return first.partition(END)[0], second.partition(END)[0]


def main() -> None:
    """Write both into the page."""
    before, first, second = PAGE.read_text().split(BEGIN)
    between, after = first.partition(END)[2], second.partition(END)[2]
    PAGE.write_text("".join([before, BEGIN, table(), END, between, BEGIN, differences(), END, after]))


if __name__ == "__main__":
    main()
