"""Losses towards soft labels, mixing, and a whole distillation step: the references' numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import Golden, Tolerance, arrays, tensor
from scipy.special import betaincinv
from torch import Tensor, nn

from ddbench import mixing
from ddbench.label_losses import SoftLoss, as_logits
from ddbench.networks._backbone import Backbone
from ddbench.objective import Batch, Examples, SyntheticLoss
from ddbench.protocols import Mix
from ddbench.stack import Stack
from ddbench.trained import Teachers
from ddbench.training import OptimizerSpec, train

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def loss_and_gradient(
    loss: SyntheticLoss, logits: Tensor, y: Tensor, soft: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Of one network, as a stack of one computes them."""
    leaf = logits[:, None].clone().requires_grad_()
    value = loss.label_loss(leaf, y[:, None], None, None if soft is None else soft[:, None])
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach().squeeze(), gradient[:, 0]


# --- the references' losses --------------------------------------------------------------------


@pytest.mark.golden
@DTYPES
def test_golden_criteria_of_ddranking(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("basics/ddranking.npz")
    close = Tolerance(1e-9, 1e-12) if dtype == torch.float64 else Tolerance(1e-5, 1e-6)
    student, teacher = (tensor(data[f"logits_{who}"], dtype) for who in ("student", "teacher"))
    label = tensor(data["label"])
    settings = {
        f"{name}/temperature{i}_scale{int(scaled)}": SoftLoss(name, float(t), scaled)
        for name in ("kl", "sce") for i, t in enumerate(data["temperature"])
        for scaled in (False, True)
    } | {
        f"mse_gt/weights{i}": SoftLoss("mse_gt", mse_weight=float(mse), ce_weight=float(ce))
        for i, (mse, ce) in enumerate(data["mse_gt_weights"])
    }  # fmt: skip
    assert len(settings) == sum(key.endswith("/grad_student") for key in data.files)
    for case, soft in settings.items():
        value, gradient = loss_and_gradient(SyntheticLoss(soft=soft), student, label, teacher)
        scale = Tolerance(close.rtol, close.atol, scaled=True)  # T^2 times 400 at T = 20
        scale.check(value, data[f"{case}/loss"], f"{case} loss")
        scale.check(gradient, data[f"{case}/grad_student"], f"{case} gradient")


@pytest.mark.golden
@DTYPES
def test_golden_losses_of_decoupled_students(
    golden: Callable[[str], Golden], dtype: torch.dtype
) -> None:
    data = golden("decoupled/train.npz")
    close = Tolerance(1e-9, 1e-12) if dtype == torch.float64 else Tolerance(1e-4, 1e-7)
    student = tensor(data["student_logits"], dtype)
    stored = tensor(data["soft_label_fp16"]).to(dtype)
    label, temperature = tensor(data["hard_label"]), float(data["cfg/temperature"])
    kl = SoftLoss("kl", temperature)
    cases = {
        "gvbsm_mse_gt": SoftLoss("mse_gt", ce_weight=float(data["cfg/gamma"])),
        "gvbsm_kl": kl, "sre2l_kl": kl, "rded_kl": kl,
        "sre2l_cifar_kl": SoftLoss("kl", float(data["sre2l_cifar_kl/temperature"])),
    }  # fmt: skip
    for case, soft in cases.items():
        value, gradient = loss_and_gradient(SyntheticLoss(soft=soft), student, label, stored)
        wanted = float(np.squeeze(data[f"{case}/loss"]))
        Tolerance(close.rtol, 1e-5 if dtype == torch.float32 else 1e-12).check(
            value, np.asarray(wanted), f"{case} loss"
        )
        close.check(gradient, data[f"{case}/grad"], f"{case} gradient")


@pytest.mark.golden
@DTYPES
def test_golden_accumulation_is_arithmetic(
    golden: Callable[[str], Golden], dtype: torch.dtype
) -> None:
    """Parts of a fixed size, each loss divided by the number of parts of a whole batch."""
    data = golden("decoupled/train.npz")
    student, stored = tensor(data["student_logits"], dtype), tensor(data["soft_label_fp16"])
    label, steps = tensor(data["hard_label"]), int(data["cfg/accum_steps"])
    size = int(data["cfg/accum_batch"]) // steps
    soft = SoftLoss("mse_gt", ce_weight=float(data["cfg/gamma"]))
    parts = zip(student.split(size), label.split(size), stored.to(dtype).split(size), strict=True)
    found = [loss_and_gradient(SyntheticLoss(soft=soft), *part) for part in parts]
    close = Tolerance(1e-9, 1e-12) if dtype == torch.float64 else Tolerance(1e-4, 1e-5)
    losses, gradients = zip(*found, strict=True)
    close.check(torch.stack(losses) / steps, data["gvbsm_mse_gt_accum/loss"], "losses")
    close.check(torch.cat(gradients) / steps, data["gvbsm_mse_gt_accum/grad"], "gradient")


@pytest.mark.golden
@pytest.mark.parametrize("soft", [None, SoftLoss("sce")], ids=["ce", "sce"])
def test_golden_soft_cross_entropy_of_datm(
    golden: Callable[[str], Golden], soft: SoftLoss | None
) -> None:
    """Plain CE on labels of kind ``logit``, and ``sce`` at temperature 1, are DATM's loss."""
    data = golden("trajectory/datm_soft_ce.npz")
    for dtype, close in (
        (torch.float64, Tolerance(1e-9, 1e-12)), (torch.float32, Tolerance(1e-5, 1e-6)),
    ):  # fmt: skip
        logits, labels = (
            tensor(data[name], dtype)[:, None].requires_grad_()
            for name in ("logits", "label_logits")
        )
        value = SyntheticLoss("logit", soft=soft).label_loss(logits, labels)
        gradients = torch.autograd.grad(value.sum(), (logits, labels))
        close.check(value[0], data["loss"], "loss")
        close.check(gradients[0][:, 0], data["grad_logits"], "gradient in the logits")
        close.check(gradients[1][:, 0], data["grad_label_logits"], "gradient in the labels")


def test_probabilities_serve_as_logits() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]], dtype=torch.float64)
    logits = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = SyntheticLoss("probability").label_loss(logits[:, None], p[:, None])
    found = SyntheticLoss("probability", soft=SoftLoss("sce")).label_loss(
        logits[:, None], p[:, None]
    )
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="not soft"):
        as_logits(torch.tensor([1]), "index")


@given(seed=st.integers(0, 2**31), temperature=st.sampled_from([1.0, 4.0, 20.0]))
def test_sce_and_kl_have_one_gradient_and_kl_is_zero_at_the_target(
    seed: int, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    s, t = torch.randn(2, 5, 7, dtype=torch.float64, generator=generator)
    label = torch.zeros(5, dtype=torch.int64)
    found = [
        loss_and_gradient(SyntheticLoss(soft=SoftLoss(name, temperature)), s, label, t)
        for name in ("sce", "kl")
    ]
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-14)
    assert found[1][0] >= -1e-15
    same, _ = loss_and_gradient(SyntheticLoss(soft=SoftLoss("kl", temperature)), t, label, t)
    assert abs(float(same)) < 1e-14


def test_weights_replace_the_mean() -> None:
    loss = SyntheticLoss(soft=SoftLoss("kl", 2.0))
    logits, soft = torch.randn(2, 4, 1, 3, generator=torch.Generator().manual_seed(0)).unbind()
    y = torch.zeros(4, 1, dtype=torch.int64)
    padded = torch.tensor([[0.5], [0.5], [0.0], [0.0]])
    found = loss.label_loss(logits, y, padded, soft)
    torch.testing.assert_close(found, loss.label_loss(logits[:2], y[:2], None, soft[:2]))


# --- mixing ------------------------------------------------------------------------------------


@pytest.mark.golden
@DTYPES
def test_golden_boxes_and_mixes(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("decoupled/relabel.npz")
    x = tensor(data["mix/input"], dtype)[:, None]
    height, width = x.shape[-2:]
    box = mixing.cutmix_box(
        tensor(data["mix/lam"]), tensor(data["mix/centre"]).T, height, width
    )  # fmt: skip
    x1, y1, x2, y2 = data["mix/bbox"].T
    assert np.array_equal(box.numpy(), np.stack([x1, x2, y1, y2]))
    partner, share = tensor(data["mix/perm"])[:, None], tensor(data["mix/lam"], dtype)
    used, blended = int(data["mix/cutmix_used"]), int(data["mix/mixup_lam_used"])
    record = {"partner": partner, "share": share[used : used + 1], "box": box[:, used : used + 1]}
    exact = Tolerance(0, 0) if dtype == torch.float64 else Tolerance(0, 1e-5)
    exact.check(mixing.apply(x, record)[:, 0], data["mix/cutmix_output"], "cutmix")
    record = {"partner": partner, "share": share[blended : blended + 1]}
    close = Tolerance(1e-12, 1e-12) if dtype == torch.float64 else Tolerance(0, 1e-5)
    close.check(mixing.apply(x, record)[:, 0], data["mix/mixup_output"], "mixup")


@pytest.mark.golden
def test_golden_mixup_of_cifar_students(golden: Callable[[str], Golden]) -> None:
    data = golden("decoupled/train.npz")
    x = tensor(data["sre2l_cifar_mixup/input"])[:, None]
    record = {
        "partner": tensor(data["sre2l_cifar_mixup/perm"])[:, None],
        "share": tensor(data["sre2l_cifar_mixup/lam"])[None],
    }
    wanted = data["sre2l_cifar_mixup/output"]
    Tolerance(1e-12, 1e-12).check(mixing.apply(x, record)[:, 0], wanted, "mixup")


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_members_of_a_stack_mix_on_their_own(name: str) -> None:
    mix = Mix.parse({"name": name, "alpha": 0.8})
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 2, 8, 10, generator=generator)
    u = torch.rand(mixing.uniforms(6), 3, generator=generator)
    together = mixing.apply(x, mixing.record(mix, u, 8, 10))
    for k in range(3):
        alone = mixing.record(mix, u[:, k : k + 1], 8, 10)
        assert torch.equal(together[:, k : k + 1], mixing.apply(x[:, k : k + 1], alone))
    assert not torch.equal(together, x)


def test_every_pixel_of_a_cutmix_is_an_image_s_or_its_partner_s() -> None:
    x = torch.arange(4.0)[:, None, None, None, None].expand(4, 1, 1, 9, 7)
    u = torch.rand(mixing.uniforms(4), 1, generator=torch.Generator().manual_seed(3))
    record = mixing.record(Mix(name="cutmix"), u, 9, 7)
    found, partner = mixing.apply(x, record)[:, 0, 0], record["partner"][:, 0]
    assert sorted(partner.tolist()) == [0, 1, 2, 3]
    x1, x2, y1, y2 = record["box"][:, 0].tolist()
    for image in range(4):
        assert (found[image, x1:x2, y1:y2] == partner[image]).all()
        outside = found[image].clone()
        outside[x1:x2, y1:y2] = image
        assert (outside == image).all()


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    u = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    wanted = torch.from_numpy(betaincinv(alpha, alpha, u.numpy()))
    assert float((mixing.beta_quantile(u, alpha) - wanted).abs().max()) < 1e-4
    edges = mixing.beta_quantile(torch.tensor([0.0, 1 - 2**-24]), alpha)
    assert edges[0] == 0 and 0.9 < edges[1] <= 1


# --- a whole step ------------------------------------------------------------------------------


def small_stack(data: Golden, prefix: str, dtype: torch.dtype) -> Stack:
    """Convolution, batch norm, ReLU, global mean, linear layer with stored numbers."""
    params = arrays(data, f"{prefix}/param")
    width, channels = params[0].shape[:2]
    with torch.device("meta"):
        block = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        module = Backbone([block], nn.Linear(width, len(params[-1])))
    values = {
        name: tensor(value, dtype)[None]
        for (name, _), value in zip(module.named_parameters(), params, strict=True)
    }
    buffers = {
        f"blocks.0.1.{name}": tensor(data[f"{prefix}/buffer/bn.{name}"], dtype)[None]
        for name in ("running_mean", "running_var")
    } | {"blocks.0.1.num_batches_tracked": torch.zeros(1, dtype=torch.int64)}
    return Stack(module, ((width, 1, 1),), values, buffers)


@pytest.mark.golden
@DTYPES
def test_golden_step_of_rded(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    """CutMix, the teacher on the mixed batch, KL, AdamW with decay on matrices, batch statistics.

    ``advised``: the running statistics move once; the reference's logging moves them twice.
    """
    data = golden("decoupled/train.npz")
    double = dtype == torch.float64
    student = small_stack(data, "rded_step/student", dtype).require_grad()
    teacher = Teachers((small_stack(data, "rded_step/teacher", dtype),), ())
    x = tensor(data["rded_step/input"], dtype)[:, None]
    share = tensor(data["rded_step/lam"])[None]
    centre = tensor(data["rded_step/centre"])[:, None]
    record = {
        "partner": tensor(data["rded_step/perm"])[:, None], "share": share,
        "box": mixing.cutmix_box(share, centre, x.shape[-2], x.shape[-1]),
    }  # fmt: skip
    mixed = mixing.apply(x, record)[:, 0]
    Tolerance(0, 0 if double else 1e-6).check(mixed, data["rded_step/mixed"], "mixed")
    kl = SyntheticLoss(soft=SoftLoss("kl", float(data["rded_step/temperature"])))
    optimizer = OptimizerSpec(
        float(data["rded_step/lr"]), weight_decay=float(data["rded_step/weight_decay"]),
        name="adamw", decay_on="matrices",
    )  # fmt: skip
    loss = train(
        student, Examples(mixed, tensor(data["rded_step/label"])), kl, optimizer,
        iter([torch.arange(len(mixed))[:, None]]), batch_size=len(mixed), teacher=teacher,
    )  # fmt: skip
    # KL is a small difference of large terms, and Adam's first step divides by the gradient
    Tolerance(1e-9 if double else 1e-4, 1e-12 if double else 1e-7).check(
        loss, data["rded_step/loss_advised"], "loss"
    )
    names = {"blocks.0.0.": "conv.", "blocks.0.1.": "bn.", "classifier.": "fc."}
    close = Tolerance(1e-9, 1e-11) if double else Tolerance(1e-4, 1e-4)
    for name, value in student.params.items():
        prefix = next(start for start in names if name.startswith(start))
        wanted = data[f"rded_step/updated_advised/param/{name.replace(prefix, names[prefix])}"]
        close.check(value[0], wanted, name)
    for name in ("running_mean", "running_var"):
        wanted = data[f"rded_step/{name}_advised"]
        close.check(student.buffers[f"blocks.0.1.{name}"][0], wanted, name)


@pytest.mark.golden
def test_golden_choice_of_decayed_parameters(golden: Callable[[str], Golden]) -> None:
    data = golden("decoupled/train.npz")
    student = small_stack(data, "rded_step/student", torch.float64).require_grad()
    spec = OptimizerSpec(0.1, weight_decay=0.01, name="adamw", decay_on="matrices")
    decayed = {
        id(p) for group in spec.build(student.params).param_groups
        for p in group["params"] if group["weight_decay"]
    }  # fmt: skip
    found = [id(value) in decayed for value in student.params.values()]
    assert found == data["rded_step/student_weight_decay_applies"].tolist()


def test_a_batch_s_teacher_replaces_its_labels() -> None:
    logits, soft = torch.randn(2, 4, 1, 3, generator=torch.Generator().manual_seed(0)).unbind()
    batch = Batch(torch.zeros(4, 1, 1, 1, 1), torch.zeros(4, 1, 3), soft=soft)
    loss = SyntheticLoss("logit", soft=SoftLoss("sce"))
    taught = loss.label_loss(logits, batch.y, None, batch.soft)
    assert torch.equal(taught, loss.label_loss(logits, soft))
    assert not torch.equal(taught, loss.label_loss(logits, replace(batch, soft=None).y))
