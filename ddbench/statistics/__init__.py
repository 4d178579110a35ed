"""The statistics of the tables: pure numbers in, intervals, tests and ranks out.

A *set* is one distillation, told from others by its seed; its *networks* were trained on it. The
set is the unit: networks of one set are replicates of the measurement, not of the method. All
accuracies are fractions. What is computed in which case, and how well it holds, is in
docs/statistics.md.
"""

from ddbench.statistics.components import between_sets_std, mean_over_sets, within_sets_std
from ddbench.statistics.images import ImageDifference, McNemar, image_difference, mcnemar
from ddbench.statistics.intervals import (
    BOOTSTRAP_FROM,
    METHODS,
    MIN_NETWORKS,
    MIN_SETS,
    Interval,
    hierarchical_bootstrap,
    interval_of,
    t_interval,
    wilson,
)
from ddbench.statistics.multiple import Ties, holm, tied_with_best
from ddbench.statistics.paired import Paired, Scores, paired, paired_t
from ddbench.statistics.ranks import RankTable, rank_table

__all__ = [
    "BOOTSTRAP_FROM",
    "METHODS",
    "MIN_NETWORKS",
    "MIN_SETS",
    "ImageDifference",
    "Interval",
    "McNemar",
    "Paired",
    "RankTable",
    "Scores",
    "Ties",
    "between_sets_std",
    "hierarchical_bootstrap",
    "holm",
    "image_difference",
    "interval_of",
    "mcnemar",
    "mean_over_sets",
    "paired",
    "paired_t",
    "rank_table",
    "t_interval",
    "tied_with_best",
    "wilson",
    "within_sets_std",
]
