"""ZCA whitening of images: the trajectory-matching family's, and KIP's.

Axes: N images, C channels, H, W, P = C*H*W (flattened in that order).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ddbench.distilled import Whitening

_KIP_REGULARISER = 0.1  # of the mean eigenvalue
_KIP_ROWS = 4096
_FLAT = 1e-4  # norm of rounding alone; one step of one 8-bit pixel gives 4e-3


def fit(x: Tensor, eps: float = 0.1) -> Whitening:
    r"""The whitening transform of the images x.

    .. math::
        \Sigma = \frac{1}{N-1} (X-\mu)^\top (X-\mu) = U \operatorname{diag}(s) U^\top, \qquad
        W = U \operatorname{diag}\big((s+\epsilon)^{-1/2}\big) U^\top, \qquad
        W^{-1} = U \operatorname{diag}\big((s+\epsilon)^{1/2}\big) U^\top

    X is x flattened to [N, P], mu its mean over N. The covariance of whitened training images is
    U diag(s / (s + eps)) U^T: with eps = 0.1 most of its eigenvalues are well below 1.

    Args:
        x: float [N, C, H, W] in [0, 1], N >= 2: all training images, neither normalised by mean and
            standard deviation nor augmented.
        eps: added to every eigenvalue; larger leaves more of the small ones unwhitened.

    Returns:
        ``mean`` [1, P], ``matrix`` and ``inverse`` [P, P] in the dtype and on the device of x.

    The decomposition costs O(P^3) and holds a few [P, P] matrices. Fits in float32 and in float64
    agree to about 1e-4 in whitened space: the eigenvectors of nearly equal eigenvalues differ
    freely, but W does not. Test images are whitened with the fit of the training images.
    """
    from kornia.enhance import ZCAWhitening

    zca = ZCAWhitening(dim=0, eps=float(eps), compute_inv=True).fit(x)
    mean, matrix, inverse = zca.mean_vector, zca.transform_matrix, zca.transform_inv
    assert mean is not None and matrix is not None and inverse is not None
    return Whitening(mean=mean, matrix=matrix, inverse=inverse)


def whiten(x: Tensor, whitening: Whitening) -> Tensor:
    """z = (x - mean) W: images [N, C, H, W] in [0, 1] to whitened ones of the same shape.

    The product is a matrix product: with TF32 enabled it is exact only to about 1e-3.
    """
    flat = (x.flatten(1) - whitening.mean) @ whitening.matrix
    return flat.view(x.shape)


def unwhiten(z: Tensor, whitening: Whitening) -> Tensor:
    """x = z W^{-1} + mean: whitened images [N, C, H, W] back to pixels, which may leave [0, 1]."""
    flat = z.flatten(1) @ whitening.inverse + whitening.mean
    return flat.view(z.shape)


# --- KIP -----------------------------------------------------------------------------------------


def fit_kip(x: Tensor) -> Whitening:
    r"""KIP's whitening (Nguyen et al., 2021), as DC-BENCH restates it.

    .. math::
        S = \frac{1}{N} Z^\top Z + \frac{0.1}{P} \operatorname{tr}\Big(\frac{1}{N} Z^\top Z\Big) I
          = U \operatorname{diag}(s) U^\top, \qquad W = U \operatorname{diag}(s^{-1/2}) U^\top

    The rows of Z [N, P] are ``standardise(x)``; unlike ``fit``, no mean over the images is removed
    (justincui03/dc_benchmark data_loader/kip_data_loader.py:51-97).

    Args:
        x: float [N, C, H, W] in [0, 1], all training images.

    Returns:
        ``mean`` [1, P] of zeros, ``matrix`` W and ``inverse`` [P, P] in the dtype and on the device
        of x. The second moments of 4096 images at a time are summed and decomposed in float64.
    """
    size = x[0].numel()
    moments = x.new_zeros(size, size, dtype=torch.float64)
    for chunk in x.split(_KIP_ROWS):
        z = standardise(chunk).flatten(1)
        moments += z.T @ z
    moments /= len(x)
    moments.diagonal().add_(_KIP_REGULARISER * moments.trace() / size)
    s, u = torch.linalg.eigh(moments)
    matrix, inverse = ((u * s**power) @ u.T for power in (-0.5, 0.5))
    return Whitening(x.new_zeros(1, size), matrix.to(x.dtype), inverse.to(x.dtype))


def standardise(x: Tensor) -> Tensor:
    """Each image [N, C, H, W] minus the mean of all its values, divided by its Euclidean norm.

    An image of one single value becomes zeros (the reference divides by zero there).
    """
    centred = x - x.mean((1, 2, 3), keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=(1, 2, 3), keepdim=True)
    return torch.where(norm > _FLAT, centred / norm, 0.0)
