"""ZCA whitening of images, as the trajectory-matching family uses it.

Axes: N images, C channels, H, W, P = C*H*W (flattened in that order).
"""

from __future__ import annotations

from torch import Tensor

from ddbench.distilled import Whitening


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
