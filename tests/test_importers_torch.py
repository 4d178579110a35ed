"""Importers of torch files: every layout, its traps, and what golden and published files hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import shared_folder, skip
from torch import Tensor

from ddbench import zca
from ddbench.distilled import Whitening
from ddbench.errors import BadInput
from ddbench.importers import Found, Reading
from ddbench.importers._detect import read
from ddbench.importers._idc_decode import decode, decode_bound, decode_multi, decode_set

Golden = Callable[[str], Any]
CLASSES, IPC = 3, 2


def images(seed: int = 0, count: int = CLASSES * IPC) -> Tensor:
    """Images as if normalised."""
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def hard(ipc: int = IPC) -> Tensor:
    """Class-major labels."""
    return torch.arange(CLASSES).repeat_interleave(ipc)


def save(folder: Path, **files: Any) -> Path:
    """Each value as ``NAME.pt``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        torch.save(value, folder / f"{name}.pt")
    return folder


def only(path: Path) -> Found:
    """The one set at ``path``."""
    (found,) = read(path).sets
    return found


def refused(path: Path, *words: str) -> None:
    """``path`` is refused in one line with all the words."""
    with pytest.raises(BadInput) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


# --- trajectories --------------------------------------------------------------------------------


def test_mtt_folder_gives_the_best_snapshot_marked(tmp_path: Path) -> None:
    save(tmp_path, images_100=images(1), labels_100=hard(), images_best=images(2),
         labels_best=hard())  # fmt: skip
    reading = read(tmp_path)
    (found,) = reading.sets
    assert reading.format == "trajectory"
    assert torch.equal(found.x, images(2)) and torch.equal(found.y, hard())  # type: ignore[arg-type]
    assert found.selected_on_test
    assert (found.space, found.constants, found.kind, found.lr) == (None, "mtt", "index", None)
    assert found.hints["other_snapshots"] == ["100"] and found.hints["lr_not_saved"]
    assert sorted(reading.files) == ["images_best.pt", "labels_best.pt"]


def test_one_file_gives_its_iteration(tmp_path: Path) -> None:
    save(tmp_path, images_100=images(1), labels_100=hard(), images_best=images(2),
         labels_best=hard())  # fmt: skip
    found = only(tmp_path / "images_100.pt")
    assert torch.equal(found.x, images(1)) and not found.selected_on_test
    assert found.hints["snapshot"] == 100


def test_several_iterations_without_best_are_a_question(tmp_path: Path) -> None:
    save(tmp_path, images_100=images(1), images_20=images(2))
    refused(tmp_path, "several iterations", "images_20.pt, images_100.pt")
    (tmp_path / "images_20.pt").unlink()
    assert torch.equal(only(tmp_path).x, images(1))


def test_labels_alone_are_not_a_set(tmp_path: Path) -> None:
    save(tmp_path, images_best=images(), labels_best=hard())
    refused(tmp_path / "labels_best.pt", "labels", "point at the images")


@pytest.mark.parametrize("requires_grad", [False, True])
def test_datm_logits_and_step_size(tmp_path: Path, requires_grad: bool) -> None:
    logits = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(5))
    logits = logits.requires_grad_(requires_grad)
    save(tmp_path, images_best=images(), labels_best=logits, lr_best=torch.tensor(0.03))
    found = only(tmp_path)
    assert found.kind == "logit" and found.lr == pytest.approx(0.03)
    assert found.y is not None and not found.y.requires_grad
    assert torch.equal(found.y, logits.detach())


def test_float_labels_without_step_size_stay_open(tmp_path: Path) -> None:
    soft = images(3).flatten(1)[:, :CLASSES].softmax(1)
    save(tmp_path, images_best=images(), labels_best=soft)
    assert only(tmp_path).kind is None  # TESLA writes probabilities and no step size
    save(tmp_path, lr_best=torch.tensor(0.03))
    assert only(tmp_path).kind is None  # a step size does not make these logits


def test_several_step_sizes(tmp_path: Path) -> None:
    save(tmp_path, images_best=images(), labels_best=hard(), lr_best=torch.tensor([0.1, 0.2]))
    assert only(tmp_path).lr == pytest.approx((0.1, 0.2))
    save(tmp_path, lr_best=torch.tensor(-0.1))
    refused(tmp_path, "lr_best.pt", "step size")


def test_zca_files_are_pixels_and_show_that_the_others_are_whitened(tmp_path: Path) -> None:
    pixels = torch.rand(6, 3, 8, 8)
    save(tmp_path, images_0=images(), labels_0=hard(), images_zca_0=pixels)
    assert only(tmp_path).space == "zca"
    assert torch.equal(only(tmp_path).x, images())
    found = only(tmp_path / "images_zca_0.pt")
    assert (found.space, found.constants) == ("unit", None)
    assert torch.equal(found.x, pixels) and found.y is not None


def test_averaged_images_are_preferred(tmp_path: Path) -> None:
    save(tmp_path / "logged_files/CIFAR10/run", images_best=images(1), labels_best=hard())
    save(tmp_path / "ema_logged_files/CIFAR10/run", ema_images_best=images(2),
         ema_labels_best=hard())  # fmt: skip
    found = only(tmp_path)
    assert torch.equal(found.x, images(2)) and "average" in found.hints["averaged"]
    assert found.hints["dataset"] == "CIFAR10"


def test_sets_in_several_folders_are_a_question(tmp_path: Path) -> None:
    save(tmp_path / "a", images_best=images())
    save(tmp_path / "b", images_best=images())
    refused(tmp_path, "2 folders", "a, b")


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    for part in (2, 0, 1):
        save(
            tmp_path, **{f"images_best_{part}": images(part), f"labels_best_{part}": hard() * part}
        )
    found = only(tmp_path)
    assert torch.equal(found.x, torch.cat([images(part) for part in range(3)]))
    assert found.y is not None and found.y.tolist() == [
        int(v) * p for p in range(3) for v in hard()
    ]
    refused(tmp_path / "images_best_1.pt", "one of several parts")
    (tmp_path / "labels_best_1.pt").unlink()
    refused(tmp_path, "labels_best_1.pt", "is missing")
    (tmp_path / "images_best_1.pt").unlink()
    refused(tmp_path, "not all there")


def test_mismatched_lengths(tmp_path: Path) -> None:
    save(tmp_path, images_best=images(), labels_best=hard(3))
    refused(tmp_path, "labels_best.pt", "9 labels for 6 images")


@pytest.mark.parametrize(
    "value",
    [torch.zeros(6, 3, 8, 8, dtype=torch.int64), torch.zeros(6, 5, 8, 8), torch.zeros(3, 8, 8)],
)
def test_other_shapes_and_types_are_no_images(tmp_path: Path, value: Tensor) -> None:
    save(tmp_path, images_best=value)
    refused(tmp_path)


# --- F -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((1, 6, 4, 2, 2), (6, 1, 4, 2, 2)),
        ((3, 6, 4, 2, 2), (6, 3, 4, 2, 2)),
        ((6, 4, 2, 2), (6, 1, 4, 2, 2)),
        ((2, 6, 5), (6, 2, 5)),
        ((6, 5), (6, 1, 5)),
        ((6, 2, 4, 3, 3), (6, 2, 4, 3, 3)),
    ],
)
def test_samples_come_first_in_F(
    tmp_path: Path, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    F = torch.arange(float(np.prod(shape))).reshape(shape)
    save(tmp_path, images_best=images(), labels_best=hard(), features_best=F)
    found = only(tmp_path).F
    assert found is not None and tuple(found.shape) == wanted
    turned = F.transpose(0, 1) if shape[0] != 6 else F
    assert torch.equal(found, turned.reshape(wanted))


@pytest.mark.parametrize("shape", [(6, 6, 4, 2, 2), (5, 5, 4, 2, 2), (2, 6), (6,), ()])
def test_ambiguous_or_wrong_F_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save(tmp_path, images_best=images(), labels_best=hard(), features_best=torch.zeros(shape))
    refused(tmp_path, "features_best.pt", "features")


def test_drupi_settings_come_from_the_name(tmp_path: Path) -> None:
    name = "[MSE_0.01_poolavg_layer3_CE_0.5_nfeat2_usemean_normTrue]"
    save(tmp_path / name, images_best=images(), labels_best=hard(),
         features_best=torch.zeros(2, 6, 4, 1, 1))  # fmt: skip
    hints = only(tmp_path / name).hints
    assert hints["lambda_reg"] == 0.01 and hints["lambda_task"] == 0.5 and hints["n_feat"] == 2
    assert (hints["pool"], hints["layer"], hints["use"]) == ("avg", "3", "mean")


# --- DC, DSA, DM ---------------------------------------------------------------------------------


def result_dict(sets: int, evaluations: int = 2) -> dict[str, Any]:
    """What DC saves: accuracies are numpy scalars."""
    accuracies = [np.float64(0.1 * (1 + i % 7)) for i in range(sets * evaluations)]
    return {
        "data": [[images(seed), hard()] for seed in range(sets)],
        "accs_all_exps": {"ConvNet": accuracies},
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_all_experiments_are_replicates(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "res_DSA_CIFAR10_ConvNet_2ipc.pt"
    torch.save(result_dict(3), path, _use_new_zipfile_serialization=not legacy)
    reading = read(path)
    assert reading.format == "res_dict" and len(reading.sets) == 3
    for seed, found in enumerate(reading.sets):
        assert torch.equal(found.x, images(seed)) and torch.equal(found.y, hard())  # type: ignore[arg-type]
        assert (found.space, found.constants, found.kind) == ("meanstd", "dc", "index")
        assert not found.selected_on_test
    hints = reading.sets[1].hints
    assert hints["recorded_accuracy"] == {"ConvNet": [pytest.approx(0.3), pytest.approx(0.4)]}
    assert type(hints["recorded_accuracy"]["ConvNet"][0]) is float
    assert (hints["method"], hints["dataset"], hints["network"], hints["ipc"]) == (
        "DSA", "CIFAR10", "ConvNet", 2,
    )  # fmt: skip


def test_accuracies_of_an_interrupted_run_are_left_out(tmp_path: Path) -> None:
    content = result_dict(3)
    content["accs_all_exps"]["ConvNet"].pop()
    torch.save(content, tmp_path / "res_DC_MNIST_ConvNet_2ipc.pt")
    assert only_hints(tmp_path / "res_DC_MNIST_ConvNet_2ipc.pt") == [{}, {}, {}]


def only_hints(path: Path) -> list[dict[str, Any]]:
    """The recorded accuracies of every set."""
    return [found.hints["recorded_accuracy"] for found in read(path).sets]


def test_drupi_entries_are_evaluations_of_one_set(tmp_path: Path) -> None:
    entries = [[images(seed), hard(), torch.full((1, 6, 4, 1, 1), float(seed))] for seed in (0, 1)]
    accuracies = {"ConvNet": [np.array([0.1, 0.2]), np.array([0.3, 0.4])]}
    torch.save({"data": entries, "accs_all_exps": accuracies}, tmp_path / "model_m.pt")
    found = only(tmp_path / "model_m.pt")
    assert torch.equal(found.x, images(1)) and found.F is not None and bool((found.F == 1).all())
    assert found.hints["recorded_accuracy"] == {"ConvNet": [0.3, 0.4]}
    assert found.space is None and found.hints["entries"] == 2


def test_mixed_entries_are_refused(tmp_path: Path) -> None:
    entries = [[images(), hard()], [images(), hard(), torch.zeros(1, 6, 4)]]
    torch.save({"data": entries}, tmp_path / "res_DC_MNIST_ConvNet_2ipc.pt")
    refused(tmp_path / "res_DC_MNIST_ConvNet_2ipc.pt", "mixes entries")


# --- IDC -----------------------------------------------------------------------------------------


def test_idc_is_decoded_by_the_factor_in_its_folder(tmp_path: Path) -> None:
    x = torch.rand(6, 3, 8, 8)
    folder = tmp_path / "conv3in_grad_l1_factor2_lr0.005_mix_ipc2"
    folder.mkdir()
    torch.save([x, hard()], folder / "data.pt")
    for path in (folder, folder / "data.pt"):
        found = only(path)
        wanted, labels = decode_set(x, hard(), 2)
        assert torch.equal(found.x, wanted) and torch.equal(found.y, labels)  # type: ignore[arg-type]
        assert (found.space, found.kind) == ("unit", "index") and len(found.x) == 24
        assert found.hints == {"stored_images": 6, "decode": {"factor": 2, "type": "single"}}


@pytest.mark.parametrize(
    ("name", "count"), [("a_factor1_b", 6), ("a_factor2_multi_b", 30), ("a_factor2_bound_b", 24)]
)
def test_idc_other_decodings(tmp_path: Path, name: str, count: int) -> None:
    (tmp_path / name).mkdir()
    torch.save([torch.rand(6, 3, 8, 8), hard()], tmp_path / name / "data.pt")
    assert len(only(tmp_path / name).x) == count


@pytest.mark.parametrize("folder", ["set", "run_mix_ipc2"])
def test_idc_without_factor_is_a_question(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    torch.save([torch.rand(6, 3, 8, 8), hard()], tmp_path / folder / "data.pt")
    refused(tmp_path / folder, "2 stored images per class", "_factor2")


def test_idc_decoded_images_are_known_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "run_ipc2").mkdir()
    torch.save([torch.rand(24, 3, 8, 8), hard(8)], tmp_path / "run_ipc2" / "data.pt")
    assert only(tmp_path / "run_ipc2").hints["decode"]["factor"] == 1


def test_idc_phases_are_joined(tmp_path: Path) -> None:
    for phase in range(2):
        folder = tmp_path / f"in_factor1_ipc2_3_phase{phase}"
        folder.mkdir()
        torch.save([torch.rand(6, 3, 8, 8), hard() + CLASSES * phase], folder / "data.pt")
    found = only(tmp_path)
    assert found.y is not None and found.y.tolist() == [v for v in range(6) for _ in range(2)]
    torch.save([torch.rand(6, 3, 8, 8), hard()], folder / "data.pt")
    refused(tmp_path, "same labels")


@pytest.mark.golden
@pytest.mark.parametrize("side", ["8", "9"])
def test_idc_decoding_is_the_references(golden: Golden, side: str) -> None:
    data = golden("basics/idc_decode.npz")
    x, y = torch.from_numpy(data[f"{side}/x"]), torch.from_numpy(data[f"{side}/y"])
    checked = 0
    for key in data.files:
        if not key.startswith(f"{side}/factor") or not key.endswith("/x") or "mix_init" in key:
            continue
        _, run, label, _ = key.split("/")
        factor, kind = int(run[len("factor")]), run.partition("_")[2]
        rows = y == int(label.removeprefix("class"))
        bound = int(data["bound"])
        if kind == "bound":
            found, labels = decode_bound(x[rows], y[rows], factor, bound)
        else:
            found, labels = {"single": decode, "multi": decode_multi}[kind](
                x[rows], y[rows], factor
            )
        np.testing.assert_allclose(found.numpy(), data[key], rtol=1e-9, atol=1e-12)
        assert np.array_equal(labels.numpy(), data[key[:-1] + "y"])
        checked += 1
    assert checked == 14


@pytest.mark.golden
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_idc_decoding_is_differentiable(golden: Golden, factor: int) -> None:
    data = golden("basics/idc_decode.npz")
    x = torch.from_numpy(data["9/x"]).requires_grad_()
    rows = torch.from_numpy(data["9/y"]) == 0
    decoded, _ = decode(x[rows], torch.zeros(int(rows.sum())), factor)
    cotangent = torch.from_numpy(data[f"9/factor{factor}_single/cotangent"])
    (gradient,) = torch.autograd.grad((decoded * cotangent).sum(), x)
    wanted = data[f"9/factor{factor}_single/grad_x"]
    np.testing.assert_allclose(gradient.numpy(), wanted, rtol=1e-9, atol=1e-12)


# --- DD-Ranking, DC-BENCH ------------------------------------------------------------------------


def test_ddranking_triple(tmp_path: Path) -> None:
    logits = images(4).flatten(1)[:, :CLASSES].clone()
    save(tmp_path, images=images(), labels=logits, lr=0.02)
    reading = read(tmp_path)
    (found,) = reading.sets
    assert reading.format == "ddranking" and found.lr == 0.02
    assert (found.space, found.constants, found.kind) == (None, "mtt", "logit")
    assert found.y is not None and torch.equal(found.y, logits)


@pytest.mark.parametrize(("mark", "method"), [("_normalize", "random"), ("", "kmeans")])
def test_dcbench_selection(tmp_path: Path, mark: str, method: str) -> None:
    save(tmp_path, **{f"CIFAR10_IPC2{mark}_images": images(),
                      f"CIFAR10_IPC2{mark}_labels": hard().float()})  # fmt: skip
    reading = read(tmp_path / f"CIFAR10_IPC2{mark}_images.pt")
    (found,) = reading.sets
    assert reading.format == "dcbench" and torch.equal(found.y, hard())  # type: ignore[arg-type]
    assert (found.space, found.constants) == ("meanstd", "dc")
    assert found.hints == {"dataset": "CIFAR10", "ipc": 2, "method": method}


# --- golden and published files ------------------------------------------------------------------

WRITERS = ("mtt", "tesla", "tesla_teacher", "ftd", "att", "stm", "datm", "datm_cpu", "edf")


@pytest.mark.golden
@pytest.mark.parametrize("writer", WRITERS)
def test_files_of_the_references(golden: Golden, writer: str) -> None:
    manifest = golden("trajectory/files_manifest.npz")
    folder = shared_folder() / "golden/trajectory/files"
    checked = 0
    for path in sorted((folder / writer).rglob("*images_*.pt")):
        found = only(path)
        name = path.relative_to(folder).as_posix()
        np.testing.assert_array_equal(found.x.numpy(), manifest[name])
        labels = name.replace("images_zca_", "images_").replace("images_", "labels_")
        assert found.y is not None and not found.y.requires_grad
        np.testing.assert_array_equal(found.y.numpy(), manifest[labels])
        step_size = name.replace("images_zca_", "images_").replace("images_", "lr_")
        assert found.lr == (float(manifest[step_size]) if step_size in manifest.files else None)
        soft = found.y.is_floating_point()
        logits = writer in ("datm", "datm_cpu", "edf")
        assert found.kind == ("logit" if logits else None if soft else "index")
        assert soft == (logits or (writer == "tesla_teacher" and "_0.pt" not in name))
        whitened = "zca" if writer == "datm" else None
        assert found.space == ("unit" if "images_zca_" in name else whitened)
        assert found.selected_on_test == name.endswith("best.pt")
        checked += 1
    assert checked >= 2
    logged = next((folder / writer).glob("*logged_files"))  # ema_ before the others
    best = only(logged if writer not in ("ftd", "att") else folder / writer)
    assert best.selected_on_test and best.x.shape[1:] == (3, 8, 8)


@pytest.mark.golden
def test_zca_file_is_the_unwhitened_copy(golden: Golden) -> None:
    manifest = golden("trajectory/files_manifest.npz")
    parts = [torch.from_numpy(manifest[f"zca/{part}"])
             for part in ("mean_vector", "transform_matrix", "transform_inv")]  # fmt: skip
    folder = next((shared_folder() / "golden/trajectory/files/datm/logged_files").rglob("Normal"))
    white, pixels = only(folder / "images_0.pt"), only(folder / "images_zca_0.pt")
    back = zca.unwhiten(white.x, Whitening(*parts))
    torch.testing.assert_close(back, pixels.x, rtol=0, atol=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize("writer", ["mtt", "ftd", "datm"])
def test_expert_buffers_of_the_references_are_refused(golden: Golden, writer: str) -> None:
    golden("trajectory/files_manifest.npz")
    folder = shared_folder() / "golden/trajectory/files" / writer / "buffers"
    refused(folder, "expert buffer")
    refused(next(folder.rglob("*.pt")), "expert buffer")


@pytest.mark.golden
def test_drupi_files_of_the_reference(golden: Golden, tmp_path: Path) -> None:
    data = golden("drupi/files.npz")

    def write(key: str, name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data[key].tobytes())
        return path

    found = only(write("dc/file_bytes", "dc/model_m.pt"))
    for part, wanted in (("x", "dc/x/250"), ("y", "dc/y/250"), ("F", "dc/F_imported")):
        np.testing.assert_array_equal(getattr(found, part).numpy(), data[wanted])
    accuracies = found.hints["recorded_accuracy"]["ConvNet"]
    np.testing.assert_array_equal(accuracies, data["dc/accs/250"].ravel())

    for host, labels in (("mtt", "y"), ("datm", "y_logits")):
        for key in data.files:
            if key.startswith(f"{host}/") and key.endswith("_best.pt"):
                write(key, key)
        found = only(tmp_path / host)
        np.testing.assert_array_equal(found.x.numpy(), data[f"{host}/x"])
        assert found.y is not None and found.F is not None
        np.testing.assert_array_equal(found.y.numpy(), data[f"{host}/{labels}"])
        np.testing.assert_array_equal(found.F.numpy(), data[f"{host}/F_imported_full"])
        assert found.kind == ("logit" if host == "datm" else "index")
        assert found.lr == (float(data["datm/lr"]) if host == "datm" else None)


def published() -> Reading:
    """The file that DC's authors published."""
    path = shared_folder() / "data/external/res_DC_MNIST_ConvNet_1ipc.pt"
    if not path.is_file():
        skip("golden", f"not found: {path} (set DDBENCH_SHARED)")
    return read(path)


@pytest.mark.golden
def test_published_dc_file(golden: Golden) -> None:
    data = golden("basics/external_dc_mnist.npz")
    reading = published()
    assert reading.format == "res_dict" and len(reading.sets) == 5
    recorded: dict[str, list[float]] = {}
    for index, found in enumerate(reading.sets):
        np.testing.assert_array_equal(found.x.numpy(), data["x"][index])
        assert found.y is not None
        np.testing.assert_array_equal(found.y.numpy(), data["y"][index])
        for network, values in found.hints["recorded_accuracy"].items():
            recorded.setdefault(network, []).extend(values)
    assert len(recorded) == 6
    for network, values in recorded.items():
        np.testing.assert_array_equal(values, data[f"recorded/{network}/accuracy"])
    assert reading.sets[0].hints["dataset"] == "MNIST"
