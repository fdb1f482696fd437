"""Medians, ratios and the table: from samples to what a reader looks at.

A ratio is the median of the ratios within each round, because a noisy neighbour spoils both
servers of a round alike.  The verdict on a row goes by the figure for each CPU second of the server
where there is one, for the same reason.
"""

from __future__ import annotations

from statistics import median
from typing import Any, Dict, List, Mapping, Optional, Sequence

from bench.rows import Row, Sample

# Samples of one row by the name of the server, in order of the rounds.
Samples = Mapping[str, Sequence[Sample]]

OURS = "lwsws"
WIDTHS = (34, 12, 12, 8, 9, 8, 7)
TITLES = ("", "", "per CPU s", "ratio", "per CPU", "target", "floor")


def ratios(samples: Samples, name: str, reference: str) -> List[Optional[float]]:
    """Median ratio of `name` to `reference`, by the value and by the value for each CPU second."""
    pairs = list(zip(samples.get(name, ()), samples.get(reference, ())))
    by_value = [one.value / other.value for one, other in pairs if other.value]
    by_cpu = [one.per_cpu / other.per_cpu for one, other in pairs if one.per_cpu and other.per_cpu]
    return [median(found) if found else None for found in (by_value, by_cpu)]


def middle(samples: Sequence[Sample]) -> Sample:
    """The median of each figure; errors are added up."""
    by_cpu = [sample.per_cpu for sample in samples if sample.per_cpu]
    return Sample(
        median(sample.value for sample in samples),
        median(by_cpu) if by_cpu else None,
        sum(sample.errors for sample in samples),
    )


def judged(row: Row, samples: Samples) -> Optional[float]:
    """The number of ours that the target and floor of `row` speak of."""
    if not samples.get(OURS):
        return None
    if not row.reference:
        return middle(samples[OURS]).value
    by_value, by_cpu = ratios(samples, OURS, row.reference)
    return by_value if by_cpu is None else by_cpu


def verdict(row: Row, samples: Samples) -> str:
    """Whether ours reached the target of `row`, the floor, or neither."""
    found = judged(row, samples)
    if found is None:
        return ""
    if row.less_is_better:
        found, target, floor = -found, -row.target, -row.floor
    else:
        target, floor = row.target, row.floor
    if found >= target:
        return "target reached"
    return "floor reached" if found >= floor else "BELOW THE FLOOR"


def number(value: Optional[float]) -> str:
    """Three or more digits, thousands set apart."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def wanted(value: float, row: Row) -> str:
    """A target or floor as the table shows it."""
    return f"{'<' if row.less_is_better else ''}{value:g}"


def line(cells: Sequence[str]) -> str:
    """One line of the table, the first cell to the left and the others to the right."""
    first, *others = cells
    right = "".join(f"{cell:>{width}}" for cell, width in zip(others, WIDTHS[1:]))
    return f"{first:<{WIDTHS[0]}}{right}".rstrip()


def row_lines(row: Row, samples: Samples) -> List[str]:
    """The block of one row: a line for each server."""
    against = f" (against {row.reference})" if row.reference else ""
    lines = [f"{row.title}{against}  {verdict(row, samples)}".rstrip()]
    for name, found in samples.items():
        whole = middle(found)
        by_value, by_cpu = ratios(samples, name, row.reference)
        cells = [f"  {name}", number(whole.value), number(whole.per_cpu), number(by_value), number(by_cpu)]
        if name == OURS:
            cells += [wanted(row.target, row), wanted(row.floor, row)]
        lines.append(line(cells) + (f"   {whole.errors} errors" if whole.errors else ""))
    return lines


def heading(row: Row) -> str:
    """The titles of the columns, with the unit of `row`."""
    return line([*TITLES[:1], row.unit, *TITLES[2:]])


def as_json(row: Row, samples: Samples) -> Dict[str, Any]:
    """All samples of one row, for programs."""
    return {
        "row": row.name,
        "unit": row.unit,
        "reference": row.reference,
        "target": row.target,
        "floor": row.floor,
        "judged": judged(row, samples),
        "verdict": verdict(row, samples),
        "samples": {name: [sample._asdict() for sample in found] for name, found in samples.items()},
    }
