"""Laws that every discovered method obeys, on toy runs; and what single methods promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ddbench import methods, store, toy
from ddbench.engine import choose
from ddbench.errors import BadInput
from ddbench.methods.herding import herd
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.runner import run
from ddbench.task import Task
from ddbench.verification import differences

F = {"item": "full", "lambda_reg": 1.0, "lambda_task": 0.1, "n_feat": 2}


@pytest.fixture(autouse=True)
def foreign_set(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for ``external``, below the data root."""
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).random((20, 1, 8, 8), dtype=np.float32)
    np.savez(folder / "set.npz", images=pixels, labels=np.arange(10).repeat(2))
    monkeypatch.setenv("DDBENCH_DATA", str(folder))


def recipe(method: str, **fields: object) -> Recipe:
    ipc = 1 if method == "average" else 2
    protocol = "full" if method == "full" else "dc"
    own = {"set": "set.npz", "space": "unit"} if method == "external" else {}
    return Recipe.parse(
        {
            "name": f"toy_{method}",
            "dataset": "digits",
            "ipc": ipc,
            "method": {"name": method, **own},
            "evaluation": {"protocol": protocol},
            **fields,
        }
    )


def toy_result(made: Recipe, folder: Path) -> store.Result:
    small = toy.shrink(made, folder)
    return store.read(run(small, 0, folder, device="cpu").path)


@pytest.mark.parametrize("method", methods.names())
def test_every_method_runs_end_to_end(method: str, tmp_path: Path) -> None:
    result = toy_result(recipe(method), tmp_path)
    assert result.attrs["status"] == "done"
    assert len(result.evaluations) == 2
    assert all(0 <= record.accuracy <= 1 for record in result.evaluations)
    if methods.method_class(method).has_set:
        assert result.synthetic is not None
        assert torch.isfinite(result.synthetic.x).all()
        ipc = 1 if method == "average" else 2
        assert result.synthetic.y.tolist() == [label for label in range(2) for _ in range(ipc)]
    else:
        assert result.synthetic is None


@pytest.mark.parametrize("method", methods.names())
def test_same_seed_same_bits(method: str, tmp_path: Path) -> None:
    first = toy_result(recipe(method), tmp_path / "a")
    second = toy_result(recipe(method), tmp_path / "b")
    assert differences(first, second) == []


@pytest.mark.parametrize("method", [m for m in methods.names() if m != "full"])
def test_features_attach_to_every_method(method: str, tmp_path: Path) -> None:
    plain = toy_result(recipe(method), tmp_path)
    result = toy_result(recipe(method, features=F), tmp_path)
    assert result.synthetic is not None and result.synthetic.F is not None
    assert torch.isfinite(result.synthetic.F).all()
    assert [record.used_features for record in result.evaluations] == [True, True, False, False]
    learned = methods.method_class(method).trains_on_synthetic
    assert result.synthetic.features["source"] == ("matching" if learned else "init")
    if not learned:
        assert plain.synthetic is not None
        assert torch.equal(plain.synthetic.x, result.synthetic.x)


@pytest.mark.parametrize("method", [m for m in methods.names() if m != "full"])
def test_matching_features_needs_a_method_that_trains_on_the_set(method: str) -> None:
    fields = {"features": F | {"source": "matching"}}
    if methods.method_class(method).trains_on_synthetic:
        assert recipe(method, **fields).feature_source == "matching"
    else:
        with pytest.raises(BadInput, match="no network trains on the synthetic set") as error:
            recipe(method, **fields)
        assert error.value.allowed == "init, second_stage"


def test_learned_features_move_and_images_stay_when_fixed(tmp_path: Path) -> None:
    fields = {"init": {"from": "real"}, "features": F | {"update_images": False, "lr": 10.0}}
    moved = toy_result(recipe("dc", **fields), tmp_path)
    still = toy_result(recipe("random", features=F), tmp_path)
    assert moved.synthetic is not None and still.synthetic is not None
    assert torch.equal(moved.synthetic.x, still.synthetic.x)
    assert moved.synthetic.F is not None and still.synthetic.F is not None
    assert not torch.equal(moved.synthetic.F, still.synthetic.F)
    assert moved.synthetic.features["fixed_images"]


def task(ipc: int) -> Task:
    from ddbench.data import load
    from ddbench.datasets import DatasetSpec
    from ddbench.networks import resolve

    cpu, network = torch.device("cpu"), resolve({"name": "ConvNetD2", "width": 8})
    data = load(DatasetSpec(name="digits"), cpu)
    return Task(ipc, data, network, Streams(3, cpu), choose(cpu, [network], data.shape, 100))


@pytest.mark.parametrize("name", ["random", "herding", "kmeans"])
@pytest.mark.parametrize("space", ["network", "pixels"])
def test_selections_are_real_images_of_their_class_without_repeats(name: str, space: str) -> None:
    fields = {"name": name} if name == "random" else {"name": name, "space": space, "epochs": 2}
    world = task(5)
    images = methods.resolve(fields).images(world)
    rows = [int((world.data.x_train == image).flatten(1).all(1).nonzero()[0]) for image in images]
    assert world.data.y_train[rows].tolist() == [c for c in range(10) for _ in range(5)]
    assert len({tuple(image.flatten().tolist()) for image in images}) == 50


def test_kmeans_centroids_are_cluster_means() -> None:
    world = task(1)
    method = methods.resolve({"name": "kmeans", "space": "pixels", "centres": "centroid"})
    means = methods.resolve("average").images(world)
    torch.testing.assert_close(method.images(world), means, rtol=1e-5, atol=1e-5)


def test_average_is_the_class_mean() -> None:
    world = task(1)
    means = methods.resolve("average").images(world)
    for label in range(10):
        mine = world.data.x_train[world.data.y_train == label]
        torch.testing.assert_close(means[label], mine.mean(0), rtol=1e-5, atol=1e-6)


def test_herding_is_greedy() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(12, 3))
    chosen: list[int] = []
    for _ in range(6):
        rest = [row for row in range(12) if row not in chosen]
        distances = [
            np.linalg.norm(points.mean(0) - points[[*chosen, row]].mean(0)) for row in rest
        ]
        chosen.append(rest[int(np.argmin(distances))])
    assert herd(torch.as_tensor(points), 6).tolist() == chosen


def test_an_ipc_between_two_entries_takes_the_lower_ones_loops() -> None:
    from ddbench.methods.dc import DC

    pairs = {ipc: (DC().resolved(ipc).outer_loop, DC().resolved(ipc).inner_loop)
             for ipc in (1, 9, 10, 15, 50, 70)}  # fmt: skip
    assert pairs == {1: (1, 1), 9: (1, 1), 10: (10, 50), 15: (10, 50), 50: (50, 10), 70: (50, 10)}
    assert DC(outer_loop=3).resolved(10).outer_loop == 3
