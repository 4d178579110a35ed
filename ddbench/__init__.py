"""ddbench: a benchmark suite for dataset distillation.

The Python API is ``ddbench.api``; the command line is a thin layer over it.
"""

__version__ = "0.1.0"
