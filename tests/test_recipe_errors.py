"""Whatever is wrong with a recipe is said in one line, and by no other exception."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddbench import recipe_files
from ddbench.errors import BadInput
from ddbench.recipe import Recipe
from ddbench.runner import make
from ddbench.spec import load_yaml

GOOD = "name: r\ndataset: digits\nipc: 2\nmethod: dc\n"
F = "features: {%s}\n"
TAUGHT = ["evaluation: {mix: cutmix, loss: kl, teacher: {epochs: 2, lr: 1}}"]


def refused(path: Path, overrides: list[str] | None = None) -> str:
    """The message, checked for its form."""
    with pytest.raises(BadInput) as error:
        recipe_files.read(path, overrides or [])
    text = str(error.value)
    assert "\n" not in text and text.isprintable()
    return text


def with_lines(*lines: str) -> str:
    """``GOOD`` with lines added; a line replaces the one of the same field."""
    fields = {line.split(":")[0]: line for line in (*GOOD.splitlines(), *lines)}
    return "\n".join(line for line in fields.values() if line.split(": ", 1)[-1] != "GONE")


# lines added to a good recipe, the field that is named, what the message says
TABLE: list[tuple[list[str], str, list[str]]] = [
    # unknown fields, at every level
    (["sed: [1]"], "sed", ["unknown field", "did you mean 'seeds'?"]),
    (["method: {name: dc, lr_im: 1}"], "method.lr_im", ["did you mean 'lr_img'?", "lr_net"]),
    (["dataset: {name: digits, zac: true}"], "dataset.zac", ["did you mean 'zca'?"]),
    (["network: {name: ConvNet, widht: 3}"], "network.widht", ["did you mean 'width'?"]),
    (["init: {form: noise}"], "init.form", ["did you mean 'from'?"]),
    (["features: {lambda: 1}"], "features.lambda", ["did you mean 'lambda_reg'?"]),
    (["features: {init: {epoch: 1}}"], "features.init.epoch", ["did you mean 'epochs'?"]),
    (["features: {contrast: {wight: 1}}"], "features.contrast.wight", ["'weight'"]),
    (["features: {budget: {ipc: 1}}"], "features.budget.ipc", ["ipc_ref, enforce"]),
    (["evaluation: {epoch: 1}"], "evaluation.epoch", ["did you mean 'epochs'?"]),
    (["evaluation: {features: {used: both}}"], "evaluation.features.used", ["'use'"]),
    (["published: [{accuracy: 1, source: s, sdt: 1}]"], "published.0.sdt", ["'std'"]),
    (["method: {name: kmeans, centers: nearest}"], "method.centers", ["'centres'"]),
    # types
    (["ipc: '2'"], "ipc", ["found '2'", "an integer"]),
    (["ipc: 2.0"], "ipc", ["found 2.0", "an integer"]),
    (["ipc: true"], "ipc", ["found True", "an integer"]),
    (["ipc: 10:30"], "ipc", ["found '10:30'"]),
    (["ipc: [2]"], "ipc", ["found [2]"]),
    (["method: {name: dc, lr_img: 10:30}"], "method.lr_img", ["found '10:30'", "a number"]),
    (["method: {name: dc, lr_img: '1e-3'}"], "method.lr_img", ["found '1e-3'", "a number"]),
    (["method: {name: dc, loops: {2: [1]}}"], "method.loops.2.1", ["missing"]),
    (["method: {name: dc, loops: {two: [1, 1]}}"], "method.loops.two", ["found 'two'"]),
    (["method: {name: dc, loops: {0: [1, 1]}}"], "method.loops", ["found 0: [1, 1]"]),
    (["method: {name: dc, loops: {}}"], "method.loops", ["is empty"]),
    (["dataset: {name: digits, zca: yes}"], "dataset.zca", ["found 'yes'", "true or false"]),
    (["evaluation: {deterministic: on}"], "evaluation.deterministic", ["'on'", "true or false"]),
    (["evaluation: dc"], "evaluation", ["found 'dc'", "a mapping of fields"]),
    (["init: real"], "init", ["found 'real'", "a mapping of fields"]),
    (["features: true"], "features", ["found True", "a mapping of fields"]),
    (["provenance: [a]"], "provenance", ["found ['a']", "a mapping"]),
    (["provenance: {ipc: 1}"], "provenance.ipc", ["found 1", "text"]),
    (["published: {accuracy: 1, source: s}"], "published", ["a list"]),
    (["name: 5"], "name", ["found 5", "text"]),
    # what is missing
    (["name: GONE"], "name", ["is required and missing"]),
    (["dataset: GONE"], "dataset", ["is required and missing"]),
    (["method: GONE"], "method", ["is required and missing"]),
    (["ipc: GONE"], "ipc", ["is required and missing"]),
    (["dataset: {}"], "dataset.name", ["is required and missing"]),
    (["method: {lr_img: 1}"], "method.name", ["is required and missing", "dc"]),
    (["init: {}"], "init.from", ["is required and missing"]),
    (["published: [{accuracy: 1}]"], "published.0.source", ["is required and missing"]),
    # names
    (["dataset: digit"], "dataset.name", ["unknown dataset 'digit'", "did you mean 'digits'?"]),
    (["dataset: {name: cifar11}"], "dataset.name", ["did you mean 'cifar10"]),
    (["method: dcc"], "method.name", ["unknown method 'dcc'", "did you mean 'dc'?", "herding"]),
    (["method: {name: hreding}"], "method.name", ["did you mean 'herding'?"]),
    (["network: ConvNetD22"], "network.name", ["unknown network", "did you mean 'ConvNetD2'?"]),
    (["evaluation: {protocol: das}"], "evaluation.protocol", ["did you mean 'dsa'?", "full"]),
    (["evaluation: {protocol: fair_v2}"], "evaluation.protocol", ["did you mean 'fair-v1'?"]),
    (["evaluation: {optimizer: adamv}"], "evaluation.optimizer", ["'sgd', 'adam' or 'adamw'"]),
    (["evaluation: {loss: mse}"], "evaluation.loss", ["'mse_gt'"]),
    (["evaluation: {labels: soft}"], "evaluation.labels", ["'own' or 'hard'"]),
    (["evaluation: {expand: hflip}"], "evaluation.expand", ["a list"]),
    (["evaluation: {mix: mixip}"], "evaluation.mix.name", ["did you mean 'mixup'?"]),
    (["evaluation: {mix: {name: mixup, alfa: 1}}"], "evaluation.mix.alfa", ["mean 'alpha'?"]),
    (["evaluation: {teacher: yes}"], "evaluation.teacher", ["expected a mapping", "'yes'"]),
    (["evaluation: {teacher: {epochs: 2, lr: 1, label: a}}"], "evaluation.teacher.label",
     ["did you mean 'labels'?"]),
    (["evaluation: {networks: ['timm:resnet18', VGG12]}"], "evaluation.networks.1.name",
     ["did you mean 'VGG1"]),
    (["evaluation: {augmentation: dsaa}"], "evaluation.augmentation", ["did you mean 'dsa'?"]),
    (["evaluation: {augmentation: 5}"], "evaluation.augmentation", ["'5'", "dc, dsa, imagenet_"]),
    (["evaluation: {augmentation: {name: dsa, strategy: flop}}"],
     "evaluation.augmentation.strategy", ["did you mean 'flip'?"]),
    (["evaluation: {networks: [ConvNetX]}"], "evaluation.networks.0.name", ["unknown network"]),
    (["evaluation: {tta: flip}"], "evaluation.tta", ["did you mean 'hflip'?", "fivecrop"]),
    (["evaluation: {schedule: halfay}"], "evaluation.schedule", ["did you mean 'halfway'?"]),
    (["dataset: {name: digits, constants: dm}"], "dataset.constants", ["dc, mtt"]),
    (["features: {item: chanel}"], "features.item", ["did you mean 'channel'?", "'spatial'"]),
    (["features: {init: {network: ConvNetQ}}"], "features.init.network", ["unknown network"]),
    (["features: {init: {augment: flop}}"], "features.init.augment", ["did you mean 'flip'?"]),
    (["name: a/b"], "name", ["found 'a/b'", "lower-case"]),
    (["name: Base"], "name", ["found 'Base'", "lower-case"]),
    (['name: ""'], "name", ["found ''", "lower-case"]),
    (["name: other"], "name", ["found 'other'", "r (the file's name)"]),
    # numbers out of range
    (["ipc: 0"], "ipc", ["found 0", "greater than or equal to 1"]),
    (["ipc: -1"], "ipc", ["found -1", "greater than or equal to 1"]),
    (["ipc: 999999999999999999999999"], "ipc", ["less than or equal to 100000"]),
    (["method: {name: dc, lr_img: 0}"], "method.lr_img", ["found 0", "greater than 0"]),
    (["method: {name: dc, lr_img: .nan}"], "method.lr_img", ["found nan", "finite"]),
    (["method: {name: dc, lr_img: .inf}"], "method.lr_img", ["found inf", "finite"]),
    (["method: {name: dc, lr_img: 1e999}"], "method.lr_img", ["found inf", "finite"]),
    (["method: {name: dc, lr_img: 1" + 400 * "0" + "}"], "method.lr_img", ["found 1000"]),
    (["evaluation: {momentum: 1}"], "evaluation.momentum", ["less than 1"]),
    (["evaluation: {repeats: 0}"], "evaluation.repeats", ["greater than or equal to 1"]),
    (["evaluation: {features: {lambda: -1}}"], "evaluation.features.lambda", ["found -1"]),
    (["published: [{accuracy: 101, source: s}]"], "published.0.accuracy", ["equal to 100"]),
    (["seeds: []"], "seeds", ["at least 1 item"]),
    (["seeds: [1, 1]"], "seeds", ["found [1, 1]", "different integers"]),
    (["seeds: [-1]"], "seeds", ["found [-1]", "from 0"]),
    (["seeds: [4294967296]"], "seeds", ["from 0 to 4294967295"]),
    (["seeds: 3"], "seeds", ["found 3", "a list"]),
    (["seeds: [true]"], "seeds.0", ["found True", "an integer"]),
    # ipc and method
    (["ipc: 140", "method: random"], "ipc", ["found 140", "139 training images"]),
    (["ipc: 140", "method: herding"], "ipc", ["1 to 139 for method herding"]),
    (["ipc: 140", "init: {from: real}"], "ipc", ["1 to 139 with init real"]),
    (["method: average"], "ipc", ["found 2", "1 with method average"]),
    (["method: {name: kmeans, centres: centroid}"], "method.centres", ["space pixels"]),
    # init
    (["init: {from: reel}"], "init.from", ["found 'reel'", "noise, real"]),
    (["init: {from: correct}"], "init.from", ["'correct'", "not built in this version"]),
    (["init: {from: 'recipe:r2'}"], "init.from", ["'recipe:r2'", "not built in this version"]),
    (["init: {from: set.h5}"], "init.from", ["found 'set.h5'", "noise, real"]),
    (["method: random", "init: {from: real}"], "init.from", ["random gives x itself"]),
    # networks
    (["network: ConvNetD4"], "network", ["ConvNetD4", "8x8", "16x16"]),
    (["network: {name: ConvNetW32, width: 64}"], "network.width", ["found 64", "says 32"]),
    (["network: {name: ConvNetGN, width: 6}"], "network.width", ["multiple of 4"]),
    (["network: {name: VGG11BN, norm: none}"], "network.norm", ["found 'none'", "says 'batch'"]),
    (["network: {name: ResNet18, depth: 20}"], "network.depth", ["found 20", "says 18"]),
    (["network: {name: LeNet, width: 3}"], "network.width", ["unknown field"]),
    (["network: {name: ShuffleNetV2, width: 0.7}"], "network.width", ["0.5, 1.0, 1.5, 2.0"]),
    (["network: LeNet"], "network", ["8x8", "16x16 and larger"]),
    (["network: {name: 'torchvision:resnet18', stem: tiny}"], "network.stem", ["'small'"]),
    (["network: {name: 'torchvision:resnet18', window_size: 2}"], "network.window_size",
     ["unknown field"]),
    (["network: 'torchvision:resnet81'"], "network.name", ["architecture of torchvision"]),
    (["evaluation: {networks: [ConvNetD2, ConvNetD5]}"], "evaluation.networks", ["ConvNetD5"]),
    (["evaluation: {networks: []}"], "evaluation.networks", ["at least 1 item"]),
    (["features: {init: {network: ConvNetD5}}"], "features.init.network", ["8x8"]),
    # F
    ([F % "layer: 3"], "features.layer", ["no layer 3", "1 to 2, or last"]),
    ([F % "layer: 0"], "features.layer", ["no layer 0"]),
    ([F % "layer: first"], "features.layer", ["found 'first'", "an integer or 'last'"]),
    ([F % "n_feat: 17"], "features.n_feat", ["less than or equal to 16"]),
    ([F % "source: matching", "method: random"], "features.source", ["init, second_stage"]),
    ([F % "source: matching", "method: herding"], "features.source", ["method herding"]),
    ([F % "source: second_stage"], "features.source", ["not built in this version"]),
    ([F % "update: joint"], "features.update", ["not built", "alternate"]),
    ([F % "align: flip, item: full"], "features.align", ["not built"]),
    ([F % "align: flip"], "features.align", ["no positions"]),
    ([F % "init: {source: file, path: x.h5}"], "features.init.source", ["imported set"]),
    ([F % "init: {source: file}"], "features.init.source", ["imported set"]),
    ([F % "init: {path: x.h5}"], "features.init.path", ["found 'x.h5'"]),
    ([F % "update_images: false"], "features.update_images", ["found noise", "{from: real}"]),
    ([F % "update_images: false", "method: random"], "features.update_images", ["never move"]),
    ([F % "item: spatial, pool: max"], "features.pool", ["found 'max'", "avg"]),
    ([F % "use: best"], "features.use", ["lambda_task > 0 and n_feat > 1"]),
    ([F % "item: full, budget: {ipc_ref: 2, enforce: error}"], "features.budget",
     ["15360 bytes", "ipc is 0"]),
    ([F % "granularity: per_class, item: full, dtype: float16, "
      "budget: {ipc_ref: 2, enforce: error}"], "features.budget", ["ipc is 1"]),
    (["features: {}", "method: full"], "features", ["no synthetic set", "null"]),
    (["features: {}", *TAUGHT], "evaluation.mix", ["F does not follow", "use: without"]),
    (["features: {}", "evaluation: {expand: [rotate]}"], "evaluation.expand", ["use: without"]),
    # what a protocol needs
    (["evaluation: {protocol: sre2l-fkd}"], "evaluation.protocol", ["stored views", "not built"]),
    (["evaluation: {mix: cutmix}"], "evaluation.mix", ["a teacher that labels per_batch"]),
    (["evaluation: {teacher: {epochs: 2, lr: 1}}"], "evaluation.teacher", ["loss sce, kl or mse"]),
    (["evaluation: {loss: kl, labels: hard}"], "evaluation.loss", ["ce with labels hard"]),
    (["evaluation: {warmup: 300}"], "evaluation.warmup", ["0 to 299"]),
    (["evaluation: {lr: 0}"], "evaluation.lr", ["learned, search"]),
    (["evaluation: {lr_grid: [0.2, 0.1]}"], "evaluation.lr_grid", ["increasing"]),
    (["evaluation: {betas: [0.9]}"], "evaluation.betas.1", ["missing"]),
    (["dataset: {name: digits, zca: kip}", "evaluation: {augmentation: crop_flip}"],
     "evaluation.augmentation", ["works on pixels", "none, dsa"]),
    (["evaluation: {augmentation: {name: randaug, magnitude: 31}}"], "evaluation.augmentation",
     ["below bins"]),
    # selection
    (["evaluation: {selection: best_on_test}"], "evaluation.selection", ["evaluation.snapshots"]),
    (["evaluation: {snapshots: [1001]}"], "evaluation.snapshots", ["below 1001"]),
    (["evaluation: {snapshots: [5, 3]}"], "evaluation.snapshots", ["increasing"]),
    (["evaluation: {snapshots: [0]}", "method: random"], "evaluation.snapshots", ["found [0]"]),
    (["evaluation: {selection: best_on_validation, snapshots: [5]}"], "evaluation.selection",
     ["dataset.validation"]),
    # datasets
    (["dataset: {name: npz}"], "dataset.path", ["needs the path"]),
    (["dataset: {name: npz, path: no.npz}"], "dataset.path", ["nothing found", "DDBENCH_DATA"]),
    (["dataset: {name: npz, path: ../x.npz}"], "dataset.path", ["without '..'"]),
    (["dataset: {name: npz, path: " + 5000 * "a" + "}"], "dataset.path", ["cannot be read"]),
    (["dataset: {name: npz, path: ~nobody-of-that-name/x}"], "dataset.path", ["cannot be read"]),
    (['dataset: {name: npz, path: "a\\0b"}'], "dataset.path", ["nothing found"]),
    (["dataset: {name: digits, path: x}"], "dataset.path", ["takes no 'path'"]),
    (["dataset: {name: digits, antialias: true}"], "dataset.antialias", ["changes nothing"]),
    (["dataset: {name: digits, validation: 0.6}"], "dataset.validation", ["equal to 0.5"]),
    (["dataset: {name: compdd_music_hard}"], "dataset.name", ["cannot be used"]),
    # sets of others
    (["method: external"], "method.set", ["is required and missing"]),
    (["method: {name: external, set: set.npz, space: pixels}"], "method.space", ["'unit'"]),
    (["method: {name: external, set: set.npz, sha256: abc}"], "method.sha256", ["match pattern"]),
    (["method: {name: external, set: ''}"], "method.set", ["at least 1"]),
    (["method: {name: external, set: set.npz, lr: ''}"], "method.lr", ["at least 1"]),
    (["method: {name: external, set: set.npz, label: ''}"], "method.label", ["at least 1"]),
    (["method: {name: external, set: set.npz, lables: a}"], "method.lables", ["'labels'"]),
    (["method: {name: external, set: set.npz}", "init: {from: real}"], "init.from",
     ["external gives x itself"]),
    (["method: {name: external, set: set.npz}", F % "source: matching"], "features.source",
     ["method external"]),
    (["method: {name: external, set: set.npz}", "evaluation: {snapshots: [0]}"],
     "evaluation.snapshots", ["found [0]"]),
    # what is not built
    (["sweep: {ipc: [1, 2]}"], "sweep", ["not built in this version"]),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "field", "says"), TABLE)
def test_bad_fields(
    lines: list[str], field: str, says: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path))
    (tmp_path / "set.npz").write_bytes(b"a file")
    path = tmp_path / "r.yaml"
    path.write_text(with_lines(*lines))
    text = refused(path)
    assert text.startswith(f"{path}: {field}: ")
    for part in says:
        assert part in text


@pytest.mark.parametrize("field", ["set", "labels", "class_order", "lr"])
@pytest.mark.parametrize(
    "path", ["no.pt", "../no.pt", 5000 * "a", "~nobody-of-that-name/x", "a\0b"]
)
def test_files_of_a_foreign_set_that_are_not_there(
    path: str, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "set.npz").write_bytes(b"a file")
    method = {"name": "external", "set": str(tmp_path / "set.npz"), field: path}
    with pytest.raises(BadInput, match=r"no such file or folder|cannot be read") as error:
        Recipe.parse({"name": "r", "dataset": "digits", "ipc": 2, "method": method})
    assert error.value.field == f"method.{field}" and str(error.value).isprintable()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets with F of two per image, each of two images per class, of the shape of digits."""
    path = tmp_path_factory.mktemp("foreign") / "sets.pt"
    item = [torch.randn(20, 1, 8, 8), torch.arange(20) // 2, torch.randn(2, 20, 4, 4, 4)]
    torch.save({"data": [item], "accs_all_exps": {}}, path)
    return path


OWN_F = {"item": "full", "n_feat": 2, "init": {"source": "file"}}


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"ipc": 3}, "ipc", "sets.pt has 20 images of 10 classes; allowed: 2"),
        ({"seeds": [1]}, "--replicate", "the file holds 1; allowed: 0 to 0"),
        ({"dataset": {"name": "digits", "image_size": 16}}, "dataset", "has images [1, 8, 8]"),
        ({"features": OWN_F | {"n_feat": 1}}, "features.n_feat", "2 per image"),
        ({"features": OWN_F}, "features", "layer, item or init.network that fit"),
        ({"method.space": None}, "--space", "allowed: unit, meanstd, zca, kip_zca"),
        ({"method.space": "zca"}, "dataset.zca", "allowed: true"),
        ({"method.constants": "mtm"}, "--constants", "did you mean 'mtt'?"),
        ({"method.format": "npz"}, None, "sets.pt: has no images"),
        ({"method.sha256": "0" * 64}, "method.sha256", "other bytes than the recipe says"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_sets_that_are_not_what_the_recipe_says(
    change: dict[str, Any], field: str | None, says: str, foreign: Path, tmp_path: Path
) -> None:
    data: dict[str, Any] = {
        "name": "r", "dataset": "digits", "network": {"name": "ConvNetD1", "width": 8}, "ipc": 2,
        "method": {"name": "external", "set": str(foreign), "space": "meanstd"},
    }  # fmt: skip
    for path, value in change.items():
        place = data["method"] if path.startswith("method.") else data
        place[path.removeprefix("method.")] = value
    recipe = Recipe.parse(data)
    with pytest.raises(BadInput) as error:
        make(recipe, recipe.seeds[0], tmp_path / "r.h5", device="cpu")
    assert error.value.field == field and says in str(error.value)
    assert not list(tmp_path.glob("*.h5"))


FILES: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "expected a mapping"),
    ("only a comment", "# nothing\n", "expected a mapping"),
    ("list", "- name: r", "expected a mapping of fields, found list"),
    ("text", "hello", "expected a mapping"),
    ("repeated key", GOOD + "ipc: 3\n", "ipc: key 'ipc' is written twice (line 5)"),
    ("repeated deeper", GOOD + "init: {from: real, from: noise}", "'from' is written twice"),
    ("tab", GOOD + "init:\n\tfrom: real", "line 6"),
    ("open bracket", GOOD + "seeds: [1", "line"),
    ("indentation", GOOD + "  seeds: [1]", "line 5"),
    ("alias", GOOD + "init: &a {from: *a}", "aliases"),
    ("python tag", GOOD + "seeds: !!python/tuple [1]", "tag"),
    ("date tag", GOOD + "seeds: !!timestamp x", "not valid YAML"),
    ("two documents", GOOD + "---\n" + GOOD, "single document"),
    ("nul", GOOD + "# \0", "not valid YAML"),
    ("latin-1", GOOD.encode() + b"# \xe9", "is not UTF-8 text"),
    ("huge integer", GOOD + f"seeds: [{'9' * 5000}]", "not valid YAML"),
    ("deep", GOOD + "seeds: " + "[" * 3000, "not valid YAML"),
    ("number as field", GOOD + "1: 2", "1: found 1; allowed: text as keys"),
    ("extends missing", "extends: nowhere.yaml", "extends: no file 'nowhere.yaml'"),
    ("extends up", "extends: ../r.yaml", "extends: found '../r.yaml'; allowed: a relative path"),
    ("extends absolute", "extends: /etc/hostname", "extends: found '/etc/hostname'"),
    ("extends list", "extends: [a.yaml]", "extends: found ['a.yaml']"),
    ("extends empty", "extends: ''", "extends: no file ''"),
    ("extends folder", "extends: _base", "extends: no file '_base'"),
    ("extends too long", f"extends: {'a' * 5000}", "extends: no file"),
    ("extends itself", "extends: r.yaml", "extends: extends itself: r.yaml -> r.yaml"),
    ("extends twice", "extends: [r.yaml]\nextends: x", "written twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), [row[1:] for row in FILES], ids=[r[0] for r in FILES])
def test_bad_files(text: str | bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    message = refused(path)
    assert message.startswith(f"{path}: ") and says in message


def test_cyclic_and_broken_bases(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {base}.yaml\n")
    text = refused(tmp_path / "a.yaml")
    assert "extends itself: a.yaml -> b.yaml -> c.yaml -> a.yaml" in text
    (tmp_path / "base.yaml").write_text("ipc: [1\n")
    (tmp_path / "r.yaml").write_text("extends: base.yaml\n")
    assert refused(tmp_path / "r.yaml").startswith(f"{tmp_path / 'base.yaml'}: line 2")
    (tmp_path / "base.yaml").write_text("- 1\n")
    assert "base.yaml: expected a mapping" in refused(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("ipc", "--set: found 'ipc'; allowed: field.subfield=value"),
        ("=1", "--set: found '=1'"),
        (".ipc=1", "--set: found '.ipc=1'"),
        ("a..b=1", "--set: found 'a..b=1'"),
        ("", "--set: found ''"),
        ("ipc=[1", "--set ipc: line 1"),
        ("ipc=a: b: c", "--set ipc: line 1"),
        ("ipc=", "ipc: found None; allowed: an integer"),
        ("ipc=ten", "ipc: found 'ten'"),
        ("method.lr_imgg=1", "method.lr_imgg: unknown field; did you mean 'lr_img'?"),
        ("method.lr_img.x=1", "method.lr_img: found {'x': 1}; allowed: a number"),
        ("method.name=dcc", "method.name: unknown method 'dcc'; did you mean 'dc'?"),
        ("method.loops.x=[1, 2]", "method.loops.x: found 'x'"),
        ("network.width=64", "network.name: is required and missing"),
        ("seeds.0=1", "seeds: found {'0': 1}; allowed: a list"),
        ("extends=x.yaml", "extends: unknown field"),
        ("name=other", "name: found 'other'; allowed: r (the file's name)"),
        ("evaluation.protocol=[dc]", "evaluation.protocol: found ['dc']; allowed: text"),
    ],
)
def test_bad_overrides(override: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD)
    text = refused(path, [override])
    assert says in text


@pytest.mark.parametrize(
    "name", ["digits_dc_ipc55", "nowhere/r.yaml", "r.yaml", "", ".", "/", "a" * 5000, "a\0b"]
)
def test_recipes_that_are_not_there(name: str) -> None:
    with pytest.raises(BadInput) as error:
        recipe_files.read(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [None, 1, "text", [], [1], True, {}, {"a": 1}, {1: 1}])
def test_data_that_is_no_recipe(data: object) -> None:
    with pytest.raises(BadInput):
        Recipe.parse(data)


# --- nothing but a recipe or BadInput ---------------------------------------------------------

_SHIPPED = ["digits_dc_f_ipc3", "cifar10_dc_f_ipc9_channel", "mnist_kmeans_ipc10", "cifar10_full"]
_WORDS = ["", "none", "dc", "dsa", "random", "full", "last", "real", "best", "joint", "file",
          "matching", "digits", "npz", "folder", "ConvNet", "ConvNetD8BN", "a/b", "\0", "\ud800",
          "recipe:x", "1e-3", "channel", "spatial", "best_on_test", "x\ny"]  # fmt: skip
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(_WORDS)
    | st.text(max_size=4) | st.sampled_from([0, -1, 10**12, 10**400, -(10**4000)])
)  # fmt: skip
_NESTED = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "from", "path", "x"]) | _LEAVES, inner, max_size=3
        )
    ),
    max_leaves=6,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    return [at] + [place for key, item in inner for place in _places(item, (*at, key))]


_DATA = {name: recipe_files.read(name).to_data() for name in _SHIPPED}
_DATA["external"] = Recipe.parse(
    {
        "name": "external", "dataset": "digits", "ipc": 2, "features": {"item": "full"},
        "method": {"name": "external", "set": __file__, "labels": __file__, "lr": "0.1,0.2"},
        "evaluation": {"protocol": "ddranking-soft-rded", "networks": ["MLP"],
                       "features": {"use": "without"}},
    }
).to_data()  # fmt: skip
_PLACES = {name: _places(data) for name, data in _DATA.items()}


def _recipe_or_bad_input(data: object) -> None:
    try:
        found = Recipe.parse(data, file="fuzz")
    except BadInput as error:
        text = str(error)
        assert text.startswith("fuzz: ") and text.isprintable()
        return
    assert len(found.key) == 12
    assert found.plans() and found.size().total > 0
    assert recipe_files.from_yaml(found.to_yaml()).key == found.key


@given(st.data())
@settings(max_examples=200)
def test_mutated_recipes_are_recipes_or_bad_input(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(_DATA)))
    mutated: dict[Any, Any] = copy.deepcopy(_DATA[name])
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(_PLACES[name]))
        if not place:
            mutated[data.draw(_LEAVES)] = data.draw(_NESTED)
            continue
        parent: Any = mutated
        for part in place[:-1]:
            parent = parent.get(part) if isinstance(parent, dict) else None
        if not isinstance(parent, dict):
            continue
        if data.draw(st.booleans()) or place[-1] not in parent:
            parent[place[-1]] = data.draw(_NESTED)
        else:
            del parent[place[-1]]
    _recipe_or_bad_input(mutated)


@given(_NESTED)
@settings(max_examples=200)
@example({"name": "a", "dataset": "digits", "ipc": 1, "method": "dc", "init": []})
def test_any_data_is_a_recipe_or_bad_input(data: object) -> None:
    _recipe_or_bad_input(data)


@given(st.text() | st.text(alphabet="{}[]:,-&*!?|>'\"%#\n \tab1.~<="))
@settings(max_examples=200)
def test_any_text_is_yaml_or_bad_input(text: str) -> None:
    try:
        load_yaml(text, file="fuzz")
    except BadInput as error:
        assert str(error).startswith("fuzz: ") and str(error).isprintable()
