"""What a run logs, and what trackers show of it: all, once, and without a trace in the result."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddbench import methods, store, tracking
from ddbench.cli import main
from ddbench.errors import BadInput, CutOff
from ddbench.methods import Step
from ddbench.recipe import Recipe
from ddbench.runner import run
from ddbench.scalars import ScalarLog, stage_of
from ddbench.store import Result
from ddbench.synthetic import SyntheticVariables
from ddbench.verification import differences, verify

RECIPE: dict[str, Any] = {
    "name": "tracked",
    "dataset": "digits",
    "network": {"name": "ConvNetD1", "width": 4},
    "ipc": 1,
    "method": {"name": "dc", "iterations": 7},
    "evaluation": {"epochs": 1, "repeats": 2},
}
TRACKERS = ("tensorboard", "wandb")
STEPPING = [name for name in methods.names()
            if methods.method_class(name).distill is not methods.Method.distill]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no credentials are read
    monkeypatch.delenv(tracking.VARIABLE, raising=False)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Ask for one tracker, or skip where its package is missing."""

    def ask(name: str) -> None:
        package = importlib.import_module(f"ddbench.tracking.{name}").PACKAGE
        pytest.importorskip(package, reason=f"{package} is not installed")
        monkeypatch.setenv(tracking.VARIABLE, name)

    yield ask
    with suppress(Exception):  # the test that ends its process
        all_written()


def all_written() -> None:
    """Wait for the process that writes what W&B is given; it ends."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The result of a run that nothing watches."""
    return made(tmp_path_factory.mktemp("untracked"))


def made(results: Path) -> Result:
    return store.read(run(Recipe.parse(RECIPE), 0, results, device="cpu").path)


def folder(results: Path, tracker: str) -> Path:
    return results / ".tracking" / tracker / f"tracked-{Recipe.parse(RECIPE).key}-s0"


# --- the log -------------------------------------------------------------------------------------


def test_a_scalar_that_is_not_logged_at_every_iteration_is_nan_there() -> None:
    log = ScalarLog()
    log.note(Step(0, {"loss": torch.tensor(1.0)}))
    list(log.rows())  # what is on the CPU already is completed, too
    log.note(Step(1, {"loss": torch.tensor(2.0), "loss_stage_2": torch.tensor(0.5).double()}))
    log.note(Step(2, {"count": torch.tensor(2**53 - 1)}))

    nan = np.nan
    columns = log.columns()
    assert columns["iteration"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(columns["loss"], [1, 2, nan])
    np.testing.assert_array_equal(columns["loss_stage_2"], [nan, 0.5, nan])
    np.testing.assert_array_equal(columns["count"], [nan, nan, 2.0**53 - 1])
    assert {values.dtype.name for values in columns.values()} == {"float64", "int64"}
    assert list(log.rows(1)) == [(1, {"loss": 2.0, "loss_stage_2": 0.5}), (2, {"count": 2**53 - 1})]
    assert len(log) == 3


def test_a_log_goes_on_from_its_checkpoint() -> None:
    whole, cut = ScalarLog(), ScalarLog()
    steps = [Step(i, {"loss": torch.tensor(0.1 * i), f"at_{i % 2}": torch.ones(())})
             for i in range(5)]  # fmt: skip
    for step in steps:
        whole.note(step)
    for step in steps[:3]:
        cut.note(step)
    state = cut.state_dict()
    resumed = ScalarLog()
    resumed.load_state_dict(state)
    for step in steps[3:]:
        resumed.note(step)
    assert resumed.columns().keys() == whole.columns().keys()
    for name, values in whole.columns().items():
        np.testing.assert_array_equal(resumed.columns()[name], values)
        assert resumed.columns()[name].dtype == values.dtype


def test_noting_copies_and_reads_nothing_from_the_device() -> None:
    log, rate = ScalarLog(), torch.tensor(0.1)
    log.note(Step(0, {"lr": rate}))
    rate += 1  # as an optimizer updates a learned step size
    log.note(Step(1, {"lr": rate}))
    assert log.columns()["lr"].tolist() == torch.tensor([0.1, 1.1]).tolist()
    ScalarLog().note(Step(0, {"loss": torch.empty((), device="meta")}))  # it has no value to read


@pytest.mark.parametrize("scalars", [{"loss": torch.ones(1)}, {"a/b": torch.ones(())},
                                     {"iteration": torch.ones(())}])  # fmt: skip
def test_what_no_column_can_hold_is_refused_at_once(scalars: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="cannot be logged"):
        ScalarLog().note(Step(0, scalars))


def test_stages_are_told_by_their_name() -> None:
    assert stage_of("grand_loss_stage_12") == ("grand_loss", 12)
    assert stage_of("loss") is stage_of("stage_1") is stage_of("loss_stage_x") is None
    assert tracking.tag("loss_stage_3") == "loss/stage_3"
    assert tracking.tag("loss") == "loss"


@pytest.mark.parametrize("name", STEPPING)
def test_every_method_that_steps_logs_every_iteration(name: str, tmp_path: Path) -> None:
    toy = {"name": name, **methods.method_class(name).toy}
    recipe = Recipe.parse(RECIPE | {"method": toy})
    log = store.read(run(recipe, 0, tmp_path, device="cpu", stages=["distill"]).path).log
    assert log["iteration"].tolist() == list(range(recipe.method.iterations_of(recipe.ipc)))
    assert len(log) > 1
    assert all(np.isfinite(values).any() for values in log.values())


# --- asking --------------------------------------------------------------------------------------


def test_every_file_of_the_package_is_a_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.asked() == ()
    monkeypatch.setenv(tracking.VARIABLE, " wandb,tensorboard, wandb,")
    assert tracking.asked() == ("wandb", "tensorboard")
    assert tracking.plugins.names("ddbench.tracking") == TRACKERS


def test_an_unknown_tracker_is_refused_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(tracking.VARIABLE, "tensorbord")
    (tmp_path / "tracked.yaml").write_text(Recipe.parse(RECIPE).to_yaml())
    results = tmp_path / "results"
    assert main(["run", str(tmp_path / "tracked.yaml"), "--results", str(results)]) == 2
    said = capsys.readouterr().err
    assert "DDBENCH_TRACK: unknown tracker 'tensorbord'; did you mean 'tensorboard'?" in said
    assert "allowed: tensorboard, wandb" in said
    assert not results.exists()


def test_a_missing_package_is_named_with_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name)
    )
    monkeypatch.setenv(tracking.VARIABLE, "wandb")
    with pytest.raises(BadInput, match=r"not installed; allowed: pip install 'ddbench\[wandb\]'"):
        tracking.asked()


def test_nothing_is_imported_that_is_not_asked_for() -> None:
    code = "import sys, ddbench.tracking as t; t.asked(); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"torch", "numpy", "wandb", "tensorboard"} & set(loaded)


# --- what is shown -------------------------------------------------------------------------------


def shown(results: Path, tracker: str) -> list[tuple[int, float]]:
    """(iteration, loss) in the order in which the tracker's own reader has them."""
    return {"tensorboard": tensorboard_scalars, "wandb": wandb_scalars}[tracker](results, "loss")


def accumulated(results: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = {"scalars": 0, "tensors": 0}  # all of them
    return EventAccumulator(str(folder(results, "tensorboard")), size_guidance=sizes).Reload()


def tensorboard_scalars(results: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in accumulated(results).Scalars(tag)]


def wandb_records(results: Path) -> Iterator[Any]:
    """What ``wandb sync`` would upload, oldest first.

    A ``.wandb`` file has 7 bytes of its own, then blocks of 32 KiB with pieces of records: each has
    a checksum, a length and whether it is whole, the first, a middle or the last one.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    all_written()
    for path in sorted(folder(results, "wandb").glob("wandb/offline-run-*/run-*.wandb")):
        data, place, payload = path.read_bytes(), 7, b""
        while place + 7 <= len(data):
            if (left := 32768 - place % 32768) < 7:
                place += left
                continue
            _, length, kind = struct.unpack_from("<IHB", data, place)
            payload += data[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):
                yield Record.FromString(payload)
                payload = b""


def wandb_scalars(results: Path, tag: str) -> list[tuple[int, float]]:
    rows = []
    for record in wandb_records(results):
        if record.WhichOneof("record_type") == "history":
            items = {".".join(item.nested_key) or item.key: item.value_json
                     for item in record.history.item}  # fmt: skip
            if tag in items:
                rows.append((int(items["_step"]), float(items[tag])))
    return rows


def wandb_summary(results: Path) -> dict[str, float]:
    found = {}
    for record in wandb_records(results):
        for item in record.summary.update if record.HasField("summary") else ():
            found[".".join(item.nested_key) or item.key] = float(item.value_json)
    return found


def stopping_at(iteration: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is asked to stop in an iteration, as a scheduler does."""
    count, step = iter(range(100)), SyntheticVariables.step

    def stopped(*words: Any, **named: Any) -> Any:
        if next(count) == iteration:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*words, **named)

    monkeypatch.setattr(SyntheticVariables, "step", stopped)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_run_that_was_cut_off_is_shown_once_and_whole(
    tracker: str, asking: Callable[[str], None], untracked: Result, tmp_path: Path
) -> None:
    asking(tracker)
    with pytest.MonkeyPatch.context() as patch:
        stopping_at(3, patch)
        with pytest.raises(CutOff):
            made(tmp_path)
    before = shown(tmp_path, tracker)
    assert [iteration for iteration, _ in before] == [0, 1, 2, 3]
    result = made(tmp_path)

    assert differences(untracked, result) == []
    assert shown(tmp_path, tracker)[:4] == before
    expected = list(zip(result.log["iteration"], result.log["loss"], strict=True))
    assert shown(tmp_path, tracker) == expected


@pytest.mark.parametrize("tracker", TRACKERS)
def test_what_is_trained_and_tested_goes_along(
    tracker: str, asking: Callable[[str], None], tmp_path: Path
) -> None:
    asking(tracker)
    result = made(tmp_path)
    recipe = Recipe.parse(RECIPE)
    mean = float(np.mean([record.accuracy for record in result.evaluations]))
    name = "accuracy/ConvNetD1-W4/dc"
    if tracker == "tensorboard":
        events = accumulated(tmp_path)
        (accuracy,) = events.Scalars(name)
        assert (accuracy.step, accuracy.value) == (8, np.float32(mean))
        (text,) = events.Tensors("recipe/text_summary")[0].tensor_proto.string_val
        assert text.decode().replace("\n    ", "\n")[4:] == recipe.to_yaml()
    else:
        assert wandb_summary(tmp_path)[name] == mean
        runs = [record.run for record in wandb_records(tmp_path) if record.HasField("run")]
        assert {each.run_id for each in runs} == {f"{recipe.key}-s0"}  # distilled, then evaluated
        assert {(each.project, each.display_name) for each in runs} == {
            ("ddbench", "tracked seed 0")
        }
        config = {item.key: item.value_json for item in runs[0].config.update}
        assert config["seed"] == "0" and '"dc"' in config["method"]
    assert verify(recipe, 0, tmp_path, device="cpu") == []  # which no tracker is told of
    assert len(shown(tmp_path, tracker)) == 8


class Killed(BaseException):
    """Nothing is done any more, as after SIGKILL."""


def killed_while_saving(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count, save = iter(range(1, 100)), store.checkpoint.save

    def dying(*words: Any) -> None:
        if next(count) == number:
            raise Killed
        save(*words)

    monkeypatch.setattr(store.checkpoint, "save", dying)
    monkeypatch.setattr(tracking.Trackers, "__exit__", lambda *_: None)
    monkeypatch.setenv("DDBENCH_CHECKPOINT_SECONDS", "0")


def test_what_was_shown_of_lost_iterations_is_replaced(
    asking: Callable[[str], None], untracked: Result, tmp_path: Path
) -> None:
    asking("tensorboard")
    for number in (3, 2, 1):  # the last time nothing new is saved
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            killed_while_saving(number, patch)
            made(tmp_path)
        assert shown(tmp_path, "tensorboard")
    result = made(tmp_path)
    assert differences(untracked, result) == []
    expected = list(zip(result.log["iteration"], result.log["loss"], strict=True))
    assert shown(tmp_path, "tensorboard") == expected


def test_a_tracker_that_joins_later_is_told_what_came_before(
    asking: Callable[[str], None], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stopping_at(3, patch)
        with pytest.raises(CutOff):
            made(tmp_path)
    asking("tensorboard")
    made(tmp_path)
    assert [iteration for iteration, _ in shown(tmp_path, "tensorboard")] == list(range(8))


def staged(self: Any, task: Any) -> Iterator[Step]:
    """Losses of two quantities with stages, of which iterations see one each."""
    for iteration in task.iterations(self.iterations + 1):
        value, stage = torch.tensor(float(iteration)), 1 + iteration // 2
        probe = {"probe-a_stage_1": value} if iteration == 5 else {}
        yield Step(iteration, {f"loss_stage_{stage}": value, **probe})


def test_stages_are_one_plot(
    asking: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asking("tensorboard")
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    monkeypatch.setattr(methods.method_class("dc"), "distill", staged)
    result = made(tmp_path)
    assert result.log["loss_stage_2"].tolist()[2:4] == [2.0, 3.0]
    assert np.isnan(result.log["loss_stage_2"]).sum() == 6

    events = accumulated(tmp_path)
    assert tensorboard_scalars(tmp_path, "loss/stage_2") == [(2, 2.0), (3, 3.0)]
    (content,) = events.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val
    charts = Layout.FromString(content).category[0].chart
    assert [(chart.title, list(chart.multiline.tag)) for chart in charts] == [
        ("loss", ["loss/stage_[0-9]+"]), ("probe-a", [r"probe\-a/stage_[0-9]+"]),
    ]  # fmt: skip


# --- failing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_without_a_folder_is_given_up(
    tracker: str, asking: Callable[[str], None], untracked: Result, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    asking(tracker)
    (tmp_path / ".tracking").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        result = made(tmp_path)
    assert differences(untracked, result) == []
    warnings = [r.message for r in caplog.records if "no more tracking" in r.message]
    assert len(warnings) == 2  # by the distillation, and by the evaluation
    assert warnings[0].startswith(f"tracked seed 0: no more tracking by {tracker} (")
    assert warnings[0].endswith("; the run goes on")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_costs_the_tracker_and_not_the_run(
    asking: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, untracked: Result,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    asking("tensorboard")
    from tensorboard.summary.writer.record_writer import RecordWriter

    monkeypatch.setenv("DDBENCH_CHECKPOINT_SECONDS", "0")
    count, write = iter(range(100)), RecordWriter.write

    def full(self: Any, data: bytes) -> None:
        if next(count) >= 5:
            raise OSError(28, "No space left on device")
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", full)
    with caplog.at_level(logging.WARNING):
        result = made(tmp_path)
    assert differences(untracked, result) == []
    assert sum("No space left on device" in r.message for r in caplog.records) <= 2
    assert any("no more tracking by tensorboard" in r.message for r in caplog.records)


def test_a_server_process_that_dies_costs_the_tracker_and_not_the_run(
    asking: Callable[[str], None], untracked: Result, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    asking("wandb")
    count, step = iter(range(100)), SyntheticVariables.step

    def killing(*words: Any, **named: Any) -> Any:
        if next(count) == 4:
            for pid in children("wandb-core"):
                os.kill(pid, signal.SIGKILL)
        return step(*words, **named)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setenv("DDBENCH_CHECKPOINT_SECONDS", "0")
        patch.setattr(SyntheticVariables, "step", killing)
        result = made(tmp_path)
    assert differences(untracked, result) == []
    assert any("no more tracking by wandb" in record.message for record in caplog.records)


def children(name: str) -> list[int]:
    """Processes that this one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue
        command, state = rest.rsplit(") ", 1)
        if command == name and int(state.split()[1]) == os.getpid():
            found.append(int(pid))
    return found
