"""How architectures made for 32x32 images take others: one rule for all families.

1. Images of 28 and 32 pixels meet the references' networks. The references widen the first
   convolution's padding for every 1-channel image, which fits no size but 28
   (VICO-UoE/DatasetCondensation ``networks.py:99``); here it is widened for 1-channel images that
   are 28 wide.
2. Larger images are reduced once, by s = side // 32 (side: the shorter one): DATM's ``*_Tiny``
   networks at 64 (NUS-HPC-AI-Lab/DATM ``networks.py:177-262, 442-457``), the same idea at every
   size. Networks that end in a global pool in their reference (G-VBSM's) are not reduced: they take
   any size as they are.
3. In smaller images, a halving that would leave a single pixel to the layers behind it is left
   out: on one pixel instance normalisation has nothing to tell, and padding is most of the input.
"""

from __future__ import annotations

from ddbench.networks import Shape

_SIDE = 32


def reduction(shape: Shape) -> int:
    """s of rule 2: 1 below 64 pixels, 2 below 96, ..."""
    return max(1, min(shape[1:]) // _SIDE)


def first_padding(shape: Shape, *, usual: int, for_28: int) -> int:
    """Padding of the first convolution (rule 1)."""
    return for_28 if shape[0] == 1 and shape[2] == 28 else usual


def strides(shape: Shape) -> bool:
    """Whether a padded 3x3 convolution of stride 2 leaves more than one pixel (rule 3)."""
    return min(shape[1:]) >= 3


def pools(shape: Shape) -> bool:
    """Whether 2x2 pooling leaves more than one pixel (rule 3)."""
    return min(shape[1:]) >= 4
