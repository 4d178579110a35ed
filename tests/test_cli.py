"""The command line: frozen surface, exit codes, one-line errors, quick start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ddbench import importers, methods, protocols
from ddbench.cli import build_parser, main
from ddbench.networks import _initial

FOREIGN = {
    "--format", "--space", "--constants", "--labels-kind", "--labels", "--lr", "--class-order",
    "--replicate",
}  # fmt: skip
SURFACE = {
    "cancel": {"--results", "--json"},
    "check": {"--set", "--seeds", "--results", "--json", "--schema", "--cluster", "--image"},
    "compare": {"--results", "--networks", "--alpha", "--json"},
    "doctor": {"--json"},
    "evaluate": {
        "--dataset", "--networks", "--protocol", "--repeats", "--like", "--set", "--results",
        "--device", "--json", *FOREIGN,
    },
    "export": {"--format", "-o"},
    "import": {"--dataset", "-o", "--set", "--json", *FOREIGN},
    "inspect": {"--probe", "--json", *FOREIGN},
    "list": {"--json"},
    "logs": {"--results", "--lines", "--json"},
    "report": {"-o", "--figures", "--embedding"},
    "retry": {"--cluster", "--image", "--wait", "--json"},
    "run": {
        "--set", "--seeds", "--results", "--device", "--stages", "--shard", "--toy", "--verify",
        "--download", "--json",
    },
    "show": {"--features", "-o"},
    "status": {"--wait", "--json"},
    "submit": {
        "--set", "--seeds", "--results", "--cluster", "--image", "--dry-run", "--wait",
        "--no-check", "--json",
    },
    "table": {
        "--format", "--pivot", "--by-bytes", "--division", "--view", "--published", "--costs",
        "--bibtex", "-o",
    },
}  # fmt: skip

TINY = """
name: tiny
dataset: digits
network: {name: ConvNetD1, width: 4}
ipc: 1
method: {name: dc, iterations: 2}
features: {item: full, lambda_reg: 1.0}
evaluation: {epochs: 2, repeats: 2}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def options() -> dict[str, set[str]]:
    commands = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    return {
        name: {option for action in parser._actions for option in action.option_strings}
        - {"-h", "--help"}
        for name, parser in commands.items()  # type: ignore[union-attr]
    }


def test_commands_and_flags_are_frozen() -> None:
    """A new knob is a recipe field; a flag says only where, or how to show."""
    assert options() == SURFACE


@pytest.mark.parametrize("command", SURFACE)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"example: ddbench {command}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["list", "recipes"], ["list", "networks"], ["list", "protocols"],
        ["list", "importers"], ["evaluate", "--help"], ["compare", "--help"], ["report", "--help"],
        ["check", "cifar10_dc_ipc10"],
        ["submit", "cifar10_dc_ipc10", "--dry-run", "--cluster", "test"],
        ["status"], ["retry", "--help"], ["cancel", "--help"], ["logs", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_starting_imports_no_torch(words: list[str]) -> None:
    program = (
        "import sys\nfrom ddbench.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'h5py', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_run_then_find_then_verify(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = str(tiny.parent / "results")
    words = ["run", str(tiny), "--results", results, "--device", "cpu", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "done"
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "found"
    assert main([*words, "--verify"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "verified"
    assert main(["table", results]) == 0
    assert "DC + F" in capsys.readouterr().out


def test_verify_finds_a_difference(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = str(tiny.parent / "results")
    words = ["run", str(tiny), "--results", results, "--device", "cpu"]
    assert main(words) == 0
    original = _initial.pytorch_default

    def halved(*args: Any) -> dict[str, Any]:
        return {name: value * 0.5 for name, value in original(*args).items()}

    monkeypatch.setattr(_initial, "pytorch_default", halved)
    assert main([*words, "--verify"]) == 1


def test_stages_can_be_run_apart(tiny: Path) -> None:
    results = tiny.parent / "results"
    words = ["run", str(tiny), "--results", str(results), "--device", "cpu", "--stages"]
    assert main([*words, "evaluate"]) == 2
    assert main([*words, "experts,distill"]) == 0
    assert main(["table", str(results)]) == 0
    assert main([*words, "evaluate"]) == 0


def test_toy_results_are_in_no_table(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tiny.parent / "results"
    assert main(["run", str(tiny), "--toy", "--results", str(results), "--device", "cpu"]) == 0
    assert list(results.rglob("*.h5"))
    capsys.readouterr()
    main(["table", str(results)])
    assert "toy" not in capsys.readouterr().out.split("\n\n")[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "digits_dcc_ipc1"], "did you mean 'digits_dc_ipc1'"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such recipe file"),
        (["run", "digits_dc_ipc1", "--set", "method.lr_imgg=1"], "did you mean 'lr_img'"),
        (["run", "digits_dc_ipc1", "--set", "oops"], "allowed: field.subfield=value"),
        (["run", "digits_dc_ipc1", "--seeds", "1,1"], "different integers"),
        (["run", "digits_dc_ipc1", "--stages", "distil"], "did you mean 'distill'"),
        (["run", "digits_dc_ipc1", "--device", "tpu"], "allowed: auto, cpu, cuda"),
        (["run", "digits_dc_ipc1", "--device", "cuda:99"], "--device"),
        (["run", "digits_dc_ipc1", "--verify"], "run it first"),
        (["run", "mnist_dc_ipc1"], "MNIST"),
        (["check"], "at least one recipe"),
        (["list", "recipees"], "invalid choice"),
        (["table", "nowhere"], "nowhere"),
        (["table", ".", "--bibtex", "--pivot", "ipc"], "--pivot"),
        (["table", ".", "-o", "/"], "-o"),
        (["compare", "nowhere", "nowhere.h5"], "nowhere"),
        (["compare", "x", "y", "--alpha", "0.9"], "--alpha: found 0.9"),
        (["report", "nowhere", "-o", "x.html"], "nowhere"),
        (["show", "nowhere.h5", "-o", "x.png"], "nowhere.h5"),
        (["inspect", "nowhere.h5"], "nowhere.h5"),
        (["evaluate", "nowhere.pt"], "nowhere.pt: no such file or folder"),
        (["evaluate", "nowhere.pt", "--space", "pixels"], "invalid choice: 'pixels'"),
        (["evaluate", "nowhere.pt", "--like", "digits_dcc_ipc1"], "did you mean 'digits_dc_ipc1'"),
        (["import", "nowhere.pt", "--dataset", "digits", "-o", "x.h5"], "nowhere.pt"),
        (["import", "nowhere.pt", "-o", "x.h5"], "--dataset"),
        (["export", "nowhere.h5", "--format", "mtt", "-o", "x"], "nowhere.h5"),
        (["export", "nowhere.h5", "--format", "mttt", "-o", "x"], "invalid choice: 'mttt'"),
        (["frobnicate"], "invalid choice"),
    ],
)
def test_bad_input_exits_2_in_one_line(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words)
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    told = capsys.readouterr().err
    assert code == 2
    assert says in told
    assert len(told.strip().splitlines()) == 1
    assert "Traceback" not in told


def test_lists_have_the_names_that_recipes_and_options_take(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = {
        "methods": methods.names(), "protocols": protocols.names(), "importers": importers.names(),
    }  # fmt: skip
    for what, names in known.items():
        assert main(["list", what, "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert tuple(listed) == tuple(names) and all(listed.values())


def test_json_schema_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    defined = {
        part.get("properties", {}).get("name", {}).get("const") for part in schema["$defs"].values()
    }
    assert set(methods.names()) <= defined


def test_check_reports_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "digits_dc_f_ipc1", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["image_equivalents"] == 2.0
    assert {row["used_features"] for row in report["evaluations"]} == {True, False}


def test_doctor_finds_nothing_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "torch works" not in capsys.readouterr().out


def test_a_closed_pipe_is_no_error(tiny: Path) -> None:
    command = f"'{sys.executable}' -m ddbench list recipes | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
