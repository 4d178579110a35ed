"""Every sample of a published format: detected, imported by the command line, exported, imported.

The samples were written by the reference programs. What the commands ask for on the way is what the
formats leave open, and nothing else; what comes back from an export is the same set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from conftest import shared_folder, skip
from torch import Tensor

from ddbench import exporters, store
from ddbench.cli import main
from ddbench.data import unnormalise
from ddbench.distilled import DistilledSet
from ddbench.importers._detect import read

pytestmark = pytest.mark.golden

Golden = Callable[[str], Any]
MANIFEST = "trajectory/files_manifest.npz"
ANSWERS = {"--space": "meanstd", "--constants": "measured"}
SPACE = ["--space", "--constants"]
"""What normalised sets of a dataset of the user's own leave open (external-formats 1 and 11)."""
HALF_A_LEVEL = 0.5 / 255 + 1e-6


def dataset(path: Path, classes: int, shape: tuple[int, int, int], like: str = "") -> str:
    """A dataset block of random images [H, W, C]."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 20 * classes), ("test", 5 * classes)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, *shape), np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % classes
    np.savez(path, **arrays)
    return f"{{name: npz, path: {path}{f', like: {like}' if like else ''}}}"


class Place:
    """Runs the commands in a folder, and answers what they ask."""

    def __init__(self, root: Path, dataset: str, capture: pytest.CaptureFixture[str]) -> None:
        self.root, self.dataset, self.capture, self.count = root, dataset, capture, 0

    def call(self, *words: object) -> tuple[int, str]:
        code = main([str(word) for word in words])
        return code, self.capture.readouterr().err

    def new(self, suffix: str = "") -> Path:
        self.count += 1
        return self.root / f"{self.count}{suffix}"

    def imported(
        self, path: Path, answers: dict[str, str], given: dict[str, str] | None = None
    ) -> tuple[list[str], list[Path]]:
        """What ``ddbench import`` asks for, answered one by one, and the files that it writes."""
        given, target = dict(given or {}), self.new(".h5")
        asked: list[str] = []
        while True:
            words = [word for pair in given.items() for word in pair]
            code, err = self.call("import", path, "--dataset", self.dataset, "-o", target, *words)
            if code == 0:
                return asked, sorted(target.parent.glob(f"{target.stem}*.h5"))
            match = re.search(r": (--[a-z-]+): ", err)
            assert code == 2 and match and match[1] in answers and match[1] not in given, err
            given[match[1]] = answers[match[1]]
            asked.append(match[1])

    def exported(self, path: Path, name: str) -> Path | str:
        """What ``ddbench export`` writes, or why it does not."""
        target = self.new(exporters.exporter(name).SUFFIX)
        code, err = self.call("export", path, "--format", name, "-o", target)
        assert code == (0 if target.exists() else 2), err
        return target if code == 0 else err

    def come_back(self, path: Path, reasons: dict[str, str]) -> None:
        """Export in every format and import again; ``reasons`` say what a format cannot hold."""
        before = store.read_set(path)
        for name in exporters.names():
            written = self.exported(path, name)
            if name in reasons:
                assert isinstance(written, str) and reasons[name] in written, (name, written)
                continue
            assert isinstance(written, Path), (name, written)
            _, (again,) = self.imported(written, {}, notes_of(before, name))
            same(before, store.read_set(again), name)


def notes_of(data_set: DistilledSet, name: str) -> dict[str, str]:
    """What an exporter says that its files do not, as the options that answer it."""
    if name in ("safetensors", "imagefolder"):
        return {}
    answers = {"--space": data_set.space.name}
    if data_set.space.name == "meanstd":
        answers["--constants"] = "measured"
    if data_set.kind != "index":
        answers["--labels-kind"] = "logit" if name == "ddranking" else data_set.kind
    return answers


def same(before: DistilledSet, after: DistilledSet, name: str) -> None:
    """Equal as far as a format goes: 8 bits in a folder of images, class by class."""
    if name == "imagefolder":
        hard = before.y if before.kind == "index" else before.y.argmax(1)
        order = hard.argsort(stable=True)
        assert torch.equal(after.y, hard[order])
        pixels = [unnormalise(one.x, one.space, clamp=False) for one in (before, after)]
        assert float((pixels[0][order].clamp(0, 1) - pixels[1]).abs().max()) <= HALF_A_LEVEL
        return
    assert torch.equal(after.x, before.x) and after.x.dtype == torch.float32
    assert after.lr == (None if name == "dc" else before.lr)
    if name == "ddranking" and before.kind == "probability":
        assert after.kind == "logit"
        torch.testing.assert_close(after.y.softmax(1), before.y, rtol=1e-6, atol=1e-7)
        return
    assert after.kind == before.kind and torch.equal(after.y, before.y)


def equal(tensor: Tensor | None, values: Any) -> None:
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), values)


def cannot_hold(found: DistilledSet, classes: int) -> dict[str, str]:
    """Formats that have no place for a set, and what they say."""
    reasons = {} if found.kind == "index" else {"dc": "this format class indices only"}
    hard = found.y if found.kind == "index" else found.y.argmax(1)
    if len(torch.bincount(hard, minlength=classes).unique()) > 1:
        reasons["ddranking"] = "this format needs as many of each"
    return reasons


# --- trajectory matching -------------------------------------------------------------------------

WRITERS = ("mtt", "tesla", "tesla_teacher", "ftd", "att", "stm", "datm", "datm_cpu", "edf")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of three classes, 8x8 pixels, as the samples have them."""
    return dataset(tmp_path_factory.mktemp("data") / "three.npz", 3, (8, 8, 3))


@pytest.fixture
def place(tmp_path: Path, three: str, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, three, capsys)


def samples() -> Path:
    return shared_folder() / "golden/trajectory/files"


def questions(writer: str, name: str, labels: Any) -> list[str]:
    """What the specification calls open in a file of a writer."""
    if writer == "datm":  # un-whitened copies beside the images tell that these are whitened
        return []
    soft = labels.ndim == 2 and writer == "tesla_teacher"  # without a step size: of either kind
    return [*SPACE, *(["--labels-kind"] if soft else [])]


def answers_for(writer: str) -> dict[str, str]:
    kind = "probability" if writer == "tesla_teacher" else "logit"
    return {**ANSWERS, "--labels-kind": kind}


def check(found: DistilledSet, name: str, manifest: Any) -> None:
    """x, y and the step size are the manifest's, bit for bit."""
    plain = name.replace("images_zca_", "images_")
    if plain == name:
        equal(found.x, manifest[name])
    else:  # pixels, normalised or whitened as the dataset is
        pixels = unnormalise(found.x, found.space, clamp=False).numpy()
        np.testing.assert_allclose(pixels, manifest[name], rtol=0, atol=2e-6)
    equal(found.y, manifest[plain.replace("images_", "labels_")])
    lr = plain.replace("images_", "lr_")
    assert found.lr == (float(manifest[lr]) if lr in manifest.files else None)


@pytest.mark.parametrize("writer", WRITERS)
def test_every_file_of_trajectory_matching(writer: str, golden: Golden, place: Place) -> None:
    manifest = golden(MANIFEST)
    names = [
        name for name in manifest.files
        if name.startswith(f"{writer}/") and re.fullmatch(r".*images_\w+\.pt", name)
    ]  # fmt: skip
    assert len(names) >= 2
    for name in names:
        path = samples() / name
        assert read(path).format == "trajectory"
        labels = manifest[name.replace("images_zca_", "images_").replace("images_", "labels_")]
        asked, (result,) = place.imported(path, answers_for(writer))
        assert asked == questions(writer, name, labels)
        found = store.read_set(result)
        check(found, name, manifest)
        attrs = store.read_header(result).attrs
        assert bool(attrs["selected_on_test"]) == ("_best" in name)
        soft = answers_for(writer)["--labels-kind"]
        assert found.kind == ("index" if labels.ndim == 1 else soft)
        assert (found.space.name == "zca") == (writer == "datm" and "_zca_" not in name)
        place.come_back(result, cannot_hold(found, 3))


CHOSEN = {"ftd": "ema_images_best.pt", "att": "ema_images_best.pt"}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_run_folder_gives_its_best_snapshot(writer: str, golden: Golden, place: Place) -> None:
    manifest, folder = golden(MANIFEST), samples() / writer
    _, (result,) = place.imported(folder, answers_for(writer))
    wanted = CHOSEN.get(writer, "images_best.pt")
    (name,) = (n for n in manifest.files if n.startswith(f"{writer}/") and n.endswith(f"/{wanted}"))
    check(store.read_set(result), name, manifest)
    source = json.loads(str(store.read_header(result).attrs["source"]))
    assert {PurePosixPath(file).name for file in source["files"]} >= {wanted}
    assert source["format"] == "trajectory"


@pytest.mark.parametrize("writer", ["mtt", "ftd", "datm"])
def test_expert_buffers_are_no_sets(writer: str, golden: Golden, place: Place) -> None:
    golden(MANIFEST)
    for path in (samples() / writer / "buffers", *(samples() / writer).rglob("replay_*.pt")):
        target = place.new(".h5")
        code, err = place.call("import", path, "--dataset", place.dataset, "-o", target)
        assert code == 2 and "is an expert buffer" in err and not target.exists()


def test_a_step_size_that_was_not_saved_is_asked_for(golden: Golden, place: Place) -> None:
    golden(MANIFEST)
    words = ("--dataset", place.dataset, "--space", "meanstd", "--constants", "measured")
    code, err = place.call(
        "evaluate", samples() / "mtt", *words, "--protocol", "mtt", "--results", place.root / "r"
    )
    assert code == 2 and "--lr" in err


# --- DRUPI ---------------------------------------------------------------------------------------

NETWORK = "{name: ConvNetD2, width: 4}"  # whose last maps have the samples' F, 4 x 2 x 2
SETTINGS = (
    f"network={NETWORK}", f"evaluation.networks=[{NETWORK}]", "evaluation.epochs=1",
    "features.lambda_reg=0.001",
)  # fmt: skip
HOSTS = {"mtt": ("trajectory", "y", "mtt/F"), "datm": ("trajectory", "y_logits", "datm/F"),
         "dc": ("res_dict", "y/250", "dc/F")}  # fmt: skip


def evaluated(place: Place, path: Path, kind: str = "index", *more: str) -> Path:
    """The result of ``ddbench evaluate``, which takes the network that F belongs to."""
    results = place.new()
    settings = [word for one in (*SETTINGS, *more) for word in ("--set", one)]
    settings += ["--labels-kind", kind] if kind != "index" else []
    code, err = place.call(
        "evaluate", path, "--dataset", place.dataset, "--space", "meanstd", "--constants",
        "measured", "--protocol", "dc", "--repeats", "1", "--device", "cpu", "--results", results,
        *settings,
    )  # fmt: skip
    assert code == 0, err
    (result,) = results.rglob("*.h5")
    return result


def drupi(data: Any, host: str, root: Path) -> Path:
    """The files of a host as the reference wrote them."""
    if host == "dc":
        (root / "model_m.pt").write_bytes(data["dc/file_bytes"].tobytes())
        return root / "model_m.pt"
    names = [name for name in data.files if name.startswith(f"{host}/") and name.endswith(".pt")]
    (root / host).mkdir()
    for name in names:
        (root / name).write_bytes(data[name].tobytes())
    return root / host


@pytest.mark.parametrize("host", HOSTS)
def test_drupi_sets_with_features(host: str, golden: Golden, place: Place, tmp_path: Path) -> None:
    data = golden("drupi/files.npz")
    path = drupi(data, host, tmp_path)
    format_name, labels, F = HOSTS[host]
    assert read(path).format == format_name
    words = ("--space", "meanstd", "--constants", "measured", "-o", place.new(".h5"))
    code, err = place.call("import", path, "--dataset", place.dataset, *words)
    assert code == 2 and "features.lambda_reg" in err  # it is in no file
    result = evaluated(place, path)
    found = store.read_set(result)
    equal(found.x, data[f"{host}/x/250" if host == "dc" else f"{host}/x"])
    equal(found.y, data[f"{host}/{labels}"])
    equal(found.F, data[f"{F}_imported" if host == "dc" else f"{F}_imported_full"])
    assert found.lr == (float(data["datm/lr"]) if host == "datm" else None)
    if host != "dc":
        averaged = store.read_set(evaluated(place, path, found.kind, "features.item=channel"))
        assert averaged.F is not None
        wanted = torch.from_numpy(data[f"{F}_imported_avg"])
        torch.testing.assert_close(averaged.F.reshape(wanted.shape), wanted, rtol=1e-6, atol=1e-7)
    reasons = cannot_hold(found, 3)
    for name in exporters.names():
        written = place.exported(result, name)
        if name in reasons:
            assert isinstance(written, str) and reasons[name] in written
            continue
        assert isinstance(written, Path), (name, written)
        back = read(written).sets[0]
        if name in ("ddranking", "imagefolder"):  # these have no place for F
            assert back.F is None
            continue
        again = store.read_set(evaluated(place, written, found.kind))
        equal(again.F, found.F)
        equal(again.x, found.x)
        equal(again.y, found.y)


# --- DC, as published ----------------------------------------------------------------------------


def test_the_published_file_of_dc(
    golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = golden("basics/external_dc_mnist.npz")
    path = shared_folder() / "data/external/res_DC_MNIST_ConvNet_1ipc.pt"
    if not path.is_file():
        skip("golden", f"not found: {path} (set DDBENCH_SHARED)")
    own = dataset(tmp_path / "ten.npz", 10, (28, 28, 1), like="mnist")
    place = Place(tmp_path, f"{own[:-1]}, constants: dc}}", capsys)
    assert read(path).format == "res_dict"
    asked, results = place.imported(path, ANSWERS)
    assert asked == [] and len(results) == 5
    for index, result in enumerate(results):
        found = store.read_set(result)
        equal(found.x, data["x"][index])
        equal(found.y, data["y"][index])
    place = Place(tmp_path, place.dataset, capsys)
    place.count = 100
    before = store.read_set(results[0])
    for name in exporters.names():
        written = place.exported(results[0], name)
        assert isinstance(written, Path), (name, written)
        _, (again,) = place.imported(written, {"--space": "meanstd", "--constants": "dc"})
        after = store.read_set(again)
        if name in ("mtt", "ddranking"):  # MNIST has no constants of that family: as they are
            equal(after.x, before.x)
        else:
            same(before, after, name)


# --- decoupled methods ---------------------------------------------------------------------------

TREES = {"sre2l": "SRe2L, CDA or G-VBSM", "gvbsm": "SRe2L, CDA or G-VBSM", "rded": "RDED"}
STORES = {"gvbsm": ("gvbsm", "stored"), "gvbsm_norm": ("gvbsm", "stored"), "sre2l": ("sre2l", None)}


@pytest.fixture
def four(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    """A dataset of four classes, 32x32 pixels."""
    return Place(tmp_path, dataset(tmp_path / "four.npz", 4, (32, 32, 3)), capsys)


def tree(data: Any, writer: str, root: Path) -> Path:
    """The image folder of a writer."""
    for name in data.files:
        if name.startswith(f"tree/{writer}/file/"):
            path = root / name.removeprefix(f"tree/{writer}/file/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[name].tobytes())
    return root


def stored(data: Any, form: str, root: Path) -> Iterator[Path]:
    """The soft labels of a format."""
    for name in data.files:
        if match := re.fullmatch(rf"fkd/{form}/(epoch_\d+/batch_\d+)/file", name):
            path = root / f"{match[1]}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[name].tobytes())
            yield path


def levels(result: Path) -> Tensor:
    """The images of a set as uint8 [N, H, W, C]."""
    found = store.read_set(result)
    pixels = unnormalise(found.x, found.space, clamp=False)
    return (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def check_tree(data: Any, writer: str, result: Path) -> None:
    decoded = torch.from_numpy(data[f"tree/{writer}/decoded"]).flatten(0, 1)
    worst = int((levels(result).int() - decoded.int()).abs().max())
    assert worst <= (0 if writer == "gvbsm" else 3)  # JPEG decoders differ by a few levels
    equal(store.read_set(result).y, data[f"tree/{writer}/label"])


@pytest.mark.parametrize("writer", TREES)
def test_image_folders(writer: str, golden: Golden, four: Place, tmp_path: Path) -> None:
    data = golden("decoupled/relabel.npz")
    root = tree(data, writer, tmp_path / "set")
    reading = read(root)
    assert reading.format == "class_folders"
    assert reading.sets[0].hints["family"] == TREES[writer]
    asked, (result,) = four.imported(root, {})
    assert asked == []
    check_tree(data, writer, result)
    four.come_back(result, {})


@pytest.mark.parametrize("form", STORES)
def test_soft_labels_per_view(form: str, golden: Golden, four: Place, tmp_path: Path) -> None:
    data = golden("decoupled/relabel.npz")
    writer, order = STORES[form]
    root = tree(data, writer, tmp_path / "set")
    batches = list(stored(data, form, root / "fkd"))
    assert len(batches) == 6
    found = read(root).sets[0]
    assert found.hints["fkd"]["epochs"] == int(data["fkd/epochs"])
    assert found.hints["fkd"]["order"] == order  # 12 rows are too few to tell the schedules apart
    asked, (result,) = four.imported(root, {})
    assert asked == []
    check_tree(data, writer, result)
    views = store.read(result).views
    assert views is not None and views.manifest is not None
    assert sorted(views.manifest.checksums) == sorted(
        path.relative_to(root / "fkd").as_posix() for path in batches
    )
    four.come_back(result, {})
