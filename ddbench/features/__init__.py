"""F, the privileged feature labels: a set is (x, y, F), and networks train on

    CE(f(x), y) + lambda * d(T(E(x)), T(F))

(DRUPI, arXiv 2410.01611). This package holds all of F: its settings (``spec``), T and d
(``transform``, ``metrics``), the contrastive term (``contrast``), where F starts from
(``source``) and how bytes are counted (``budget``). No method file mentions F.
"""

from ddbench.features.spec import ContrastSpec, EvaluationFeatures, FeatureInit, FeatureSpec

__all__ = ["ContrastSpec", "EvaluationFeatures", "FeatureInit", "FeatureSpec"]
