"""A comparison as a reader sees it: one block of text per pair of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from ddbench.errors import printable
from ddbench.leaderboard.compare import MARGIN, Block, Comparison, Difference, Row
from ddbench.leaderboard.per_image import Images
from ddbench.leaderboard.view import human_bytes

_CLASSES = 5
"""How many classes are shown."""


def text(comparison: Comparison) -> str:
    """The whole comparison, ending with a line feed; ``Comparison.data`` has it unrounded."""
    blocks = comparison.blocks
    tested = sum(block.difference is not None and block.difference.p is not None
                 for block in blocks)  # fmt: skip
    lines = [f"A: {comparison.a}", f"B: {comparison.b}"]
    for block in blocks:
        lines += ["", *_block(block, comparison.alpha, tested)]
    if comparison.unfinished:
        lines += ["", f"Left out, not finished: {', '.join(comparison.unfinished)}"]
    return "".join(f"{printable(line)}\n" for line in lines)


def _block(block: Block, alpha: float, tested: int) -> Iterator[str]:
    yield _heading(block)
    yield from _rows(block)
    if block.difference is not None:
        yield from _difference(block.difference, alpha, tested)
    for note in block.notes:
        yield _line("note", note)
    yield _line("verdict", block.verdict)
    if block.images is not None:
        yield from _images(block.images, alpha)


def _heading(block: Block) -> str:
    said = [block.dataset, block.network, f"protocol {block.protocol}"]
    said += ["ensembles"] if block.ensemble else []
    said += [f"test-time augmentation {block.tta}"] if block.tta != "none" else []
    said += [f"selection {block.selection}"] if block.selection != "last" else []
    return ", ".join(said)


def _line(head: str, said: str) -> str:
    return f"  {head:<12}{said}"


def _rows(block: Block) -> Iterator[str]:
    names = [_name(row) for row in (block.a, block.b)]
    width, what = max(map(len, names)), "ensemble" if block.ensemble else "network"
    for side, row, name in zip("AB", (block.a, block.b), names, strict=True):
        numbers = f"{_mean(row)}  {_counts(row, what)}  {human_bytes(row.bytes)}"
        yield f"  {side}  {name:<{width}}  {numbers}"


def _name(row: Row) -> str:
    size = "all images" if row.ipc is None else f"IPC {row.ipc}"
    return f"{row.name}, {size}, {row.recipe} ({row.key})"


def _mean(row: Row) -> str:
    return f"{row.mean_percent:6.2f} %{_between(row.low_percent, row.high_percent, '.2f')}"


def _between(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"


def _counts(row: Row, what: str) -> str:
    """How many sets and networks (or ensembles), and what the interval is over."""
    method = f", {row.interval_method}" if row.interval_method else ""
    return f"({_number(row.n_sets, 'set')}, {_number(row.n_networks, what)}{method})"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _difference(difference: Difference, alpha: float, tested: int) -> Iterator[str]:
    interval = _between(difference.low_points, difference.high_points, "+.2f")
    level = f", {100 * difference.level:g} % interval{interval}" if interval else ""
    yield _line("A - B", f"{difference.points:+.2f} points{level}")
    if difference.p is not None and difference.adjusted_p is not None:
        unit = difference.unit if difference.unit == "sets" else _of_one_set(difference)
        said = f"paired t over {difference.pairs} pairs of {unit}: {_p(difference.p)}"
        if tested > 1:
            said += f"; adjusted for {tested} comparisons (Holm): {_p(difference.adjusted_p)}"
        yield _line("test", said)
        if difference.wilcoxon_p is not None:
            yield _line("Wilcoxon", _p(difference.wilcoxon_p))
        shown = "shown" if difference.equivalent else "not shown"
        yield _line("equivalence", f"{shown} (two one-sided tests, margin {MARGIN:g} points)")
    for left in difference.unpaired:
        yield _line("unpaired", left)


def _of_one_set(difference: Difference) -> str:
    return f"networks of one set each (seed {difference.seeds[0]})"


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.4f}"


# --- images --------------------------------------------------------------------------------------


def _images(images: Images, alpha: float) -> Iterator[str]:
    if images.pairs:
        yield _line("images", _pooled(images))
        yield from (_line("", line) for line in _mcnemar(images, alpha))
    if images.without_bits:
        total = images.without_bits + len(images.pairs)
        yield _line("images", f"no predictions are stored for {images.without_bits} of {total} "
                              "pairs of networks")  # fmt: skip
    if images.classes:
        yield _line("classes", _classes(images))


def _pooled(images: Images) -> str:
    said = f"{images.test_size} test images, for these {len(images.pairs)} pairs of networks alone"
    if images.difference_points is None or images.p is None:
        return said
    interval = _between(images.low_points, images.high_points, "+.2f")
    return f"{said}: {images.difference_points:+.2f} points{interval}, {_p(images.p)}"


def _mcnemar(images: Images, alpha: float) -> Iterator[str]:
    a, b = images.significant(alpha)
    yield (f"right by A alone: {_range([pair.only_a for pair in images.pairs])}; by B alone: "
           f"{_range([pair.only_b for pair in images.pairs])} images a pair")  # fmt: skip
    yield f"McNemar, adjusted (Holm): A better in {a}, B better in {b} of {len(images.pairs)} pairs"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high} (median {median(counts):g})"


def _classes(images: Images) -> str:
    shown = ", ".join(f"{each.name}: {each.points:+.2f}" for each in images.classes[:_CLASSES])
    more = len(images.classes) - _CLASSES
    rest = f", and {more} more" if more > 0 else ""
    return f"A - B in points by class, not tested: {shown}{rest}"
