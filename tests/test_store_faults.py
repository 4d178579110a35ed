"""The store under kills, full disks, rival writers and damaged files."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import random
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch

from ddbench import store
from ddbench.distilled import DistilledSet, Space, Whitening
from ddbench.errors import BadInput
from ddbench.store import atomic, checkpoint, lock, output
from ddbench.store.evaluations import EvaluationRecord

LINUX = Path("/proc/self/stat").exists()


def make_result(mark: int) -> store.Result:
    """A result with every kind of content; ``mark`` tells two of them apart."""
    generator = torch.Generator().manual_seed(mark)
    parts = [torch.randn(size, generator=generator) for size in ((1, 16), (16, 16), (16, 16))]
    F = store.round_features(torch.randn((6, 2, 5), generator=generator), "uint8_affine")
    distilled = DistilledSet(
        torch.randn((6, 1, 4, 4), generator=generator),
        torch.arange(6),
        Space("zca", whitening=Whitening(*parts)),
        F=F,
        features={"dtype": "uint8_affine"},
        lr=0.5,
    )
    bits = np.random.default_rng(mark).random((4, 500)) > 0.5
    rows = [
        EvaluationRecord("k", "dc", 0, "ConvNetD3", row, True, "none", 0.5, 0.5, 0.5,
                         np.zeros(3, np.float32), 300, 1.0, "last", bits[row])
        for row in range(4)
    ]  # fmt: skip
    views = store.SoftLabelViews(
        index=torch.arange(60), epoch=torch.zeros(60).long(), logits=torch.randn(60, 3).half()
    )
    log = {"iteration": np.arange(2000), "loss": np.random.default_rng(mark).random(2000)}
    attrs = {"recipe": "name: x\n" * 50, "key": "k", "seed": mark, "status": "done"}
    return store.Result(attrs, distilled, views, {5: distilled}, rows, log)


def content(result: store.Result) -> str:
    """Everything that must not change unnoticed, as text."""
    assert result.synthetic is not None and result.synthetic.F is not None
    assert result.views is not None and result.synthetic.space.whitening is not None
    tensors = [result.synthetic.x, result.synthetic.y, result.synthetic.F]
    tensors += [result.synthetic.space.whitening.matrix, *result.views.tensors().values()]
    tensors += [snapshot.x for snapshot in result.snapshots.values()]
    arrays = [tensor.numpy() for tensor in tensors] + list(result.log.values())
    arrays += [record.correct for record in result.evaluations if record.correct is not None]
    names = [record.network for record in result.evaluations]
    return repr((sorted(result.attrs.items()), names, [array.tobytes() for array in arrays]))


@pytest.fixture(scope="module")
def old() -> store.Result:
    return make_result(1)


@pytest.fixture(scope="module")
def new() -> store.Result:
    return make_result(2)


def in_child(action: Callable[[], None]) -> int:
    """Run ``action`` in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def interrupted_after(calls: int, fail: Callable[[], None]) -> None:
    """From here on, ``fail`` is called at the given one of the steps that a write consists of."""
    left = iter(range(calls, -1, -1))

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) == 0:
                fail()
            return function(*args, **kwargs)

        return step

    output.DeferredErrors.write = counted(output.DeferredErrors.write)  # type: ignore[method-assign]
    h5py.Group.create_dataset = counted(h5py.Group.create_dataset)
    atomic.sync = counted(atomic.sync)
    atomic.sync_directory = counted(atomic.sync_directory)
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]


def test_a_killed_write_leaves_the_old_file_or_the_new(
    tmp_path: Path, old: store.Result, new: store.Result
) -> None:
    path = tmp_path / "r.h5"
    store.write(path, old)
    before = content(store.read(path))
    outcomes = []
    for calls in range(1000):

        def action(calls: int = calls) -> None:
            interrupted_after(calls, lambda: os.kill(os.getpid(), signal.SIGKILL))
            store.write(path, new)

        status = in_child(action)
        outcomes.append(store.read(path).attrs["seed"])
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        if outcomes[-1] == 1:
            assert content(store.read(path)) == before
    assert len(outcomes) > 20 and set(outcomes) == {1, 2}
    assert outcomes == sorted(outcomes)  # once published, always published
    with store.writer_lock(path):
        assert sorted(item.name for item in tmp_path.iterdir()) == ["r.h5", "r.h5.lock"]


def test_a_write_killed_at_any_moment(tmp_path: Path, old: store.Result, new: store.Result) -> None:
    path = tmp_path / "r.h5"
    store.write(path, old)
    known = {content(store.read(path))}
    store.write(path, new)
    known.add(content(store.read(path)))
    generator = random.Random(0)

    def action() -> None:
        while True:
            store.write(path, old)
            store.write(path, new)

    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            action()
        time.sleep(generator.uniform(0.001, 0.05))
        assert content(store.read(path)) in known  # readable while it is being written
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert content(store.read(path)) in known


@pytest.mark.parametrize(
    "fault",
    list(itertools.product((errno.ENOSPC, errno.EIO, errno.EDQUOT), (0, 1, 5, 20, -1, -2))),
)
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path,
    old: store.Result,
    new: store.Result,
    fault: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error, step = fault  # the step: that many writes succeed; -1: the sync, -2: the rename fails
    path = tmp_path / "r.h5"
    store.write(path, old)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    class Full:
        """A file on a disk that fills up."""

        def __init__(self, file: Any) -> None:
            self._file, self._left = file, step

        def write(self, data: bytes) -> int:
            self._left -= 1
            if self._left < 0:
                fail()
            return int(self._file.write(data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    if step == -1:
        monkeypatch.setattr(atomic, "sync", fail)
    elif step == -2:
        monkeypatch.setattr(Path, "replace", fail)
    else:
        enter = output.DeferredErrors.__enter__

        def entered(self: output.DeferredErrors) -> output.DeferredErrors:
            enter(self)
            self._file = Full(self._file)  # type: ignore[assignment]
            return self

        monkeypatch.setattr(output.DeferredErrors, "__enter__", entered)
    with pytest.raises(OSError) as caught:
        store.write(path, new)
    assert caught.value.errno == error
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["r.h5"]


def test_the_system_refusing_to_write_does_not_end_the_process(
    tmp_path: Path, old: store.Result, new: store.Result
) -> None:
    path = tmp_path / "r.h5"
    store.write(path, old)
    before = path.read_bytes()
    for limit in (0, 100, 3000, len(before) // 2, len(before) - 1):

        def action(limit: int = limit) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            with pytest.raises(OSError, match="File too large"):
                store.write(path, new)

        assert in_child(action) == 0
        assert path.read_bytes() == before
        assert [item.name for item in tmp_path.iterdir()] == ["r.h5"]


def test_an_interrupt_while_writing(
    tmp_path: Path, old: store.Result, new: store.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.h5"
    store.write(path, old)
    before = path.read_bytes()

    real = output.DeferredErrors.write

    def interrupted(self: output.DeferredErrors, data: object) -> int:
        self._error = KeyboardInterrupt()
        return real(self, data)

    monkeypatch.setattr(output.DeferredErrors, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(path, new)
    assert path.read_bytes() == before


# --- damage ------------------------------------------------------------------------------------


def damaged(data: bytes, generator: random.Random) -> Iterator[bytes]:
    """The file cut short every few hundred bytes, then with bits, bytes and blocks changed."""
    for size in range(0, len(data), 509):
        yield data[:size]
    for round_ in range(700):
        changed = bytearray(data)
        for _ in range(generator.choice([1, 1, 1, 4, 20])):
            start = generator.randrange(len(data))
            if round_ % 3 == 0:
                changed[start] ^= 1 << generator.randrange(8)
                continue
            end = min(len(data), start + generator.choice([1, 4, 8, 64, 512, 4096]))
            size = end - start
            changed[start:end] = bytes(size) if round_ % 3 == 1 else generator.randbytes(size)
        yield bytes(changed)


def test_a_damaged_file_is_refused_or_read_correctly(tmp_path: Path, old: store.Result) -> None:
    path = tmp_path / "r.h5"
    store.write(path, old)
    whole, data = content(store.read(path)), path.read_bytes()
    refused = 0
    for changed in damaged(data, random.Random(0)):
        path.write_bytes(changed)
        try:
            assert content(store.read(path)) == whole
        except BadInput as error:
            refused += 1
            assert "\n" not in str(error)
        try:
            assert store.read_header(path).attrs["seed"] == 1
        except BadInput:
            pass
    assert refused > 500


def test_every_byte_of_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    attrs = {"recipe": "name: x\n", "key": "k", "seed": 1, "status": "done"}
    store.write(path, store.Result(attrs))
    data = path.read_bytes()
    for place in range(0, min(len(data), 1500)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            assert store.read(path).attrs == {**attrs, "schema": 1}
        except BadInput:
            pass


# --- the lock ----------------------------------------------------------------------------------


def write_lock(path: Path, holder: lock.Holder) -> None:
    path.write_text(json.dumps(asdict(holder)), encoding="utf-8")


def ended_process() -> int:
    """The number of a process that has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    result = tmp_path / "new" / "r.h5"
    with store.writer_lock(result):
        with pytest.raises(store.Locked) as caught, store.writer_lock(result):
            raise AssertionError
        text = str(caught.value)
        assert f"process {os.getpid()} on {socket.gethostname()}" in text
        assert "since 20" in text and str(result) + ".lock" in text

        def rival() -> None:
            with pytest.raises(store.Locked), store.writer_lock(result):
                raise AssertionError

        assert in_child(rival) == 0
    with store.writer_lock(result):
        pass
    assert list(result.parent.iterdir()) == []


def test_the_lock_is_released_after_an_error_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".r.h5.123-abc.tmp").write_text("half a file")
    (tmp_path / ".other.h5.123-abc.tmp").write_text("of another run")
    with pytest.raises(RuntimeError), store.writer_lock(tmp_path / "r.h5"):
        raise RuntimeError
    assert [item.name for item in tmp_path.iterdir()] == [".other.h5.123-abc.tmp"]


@pytest.mark.parametrize("reused", [False, True])
def test_a_stale_lock_is_taken_over_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reused: bool
) -> None:
    if reused and not LINUX:
        pytest.skip("the start of a process is not known here")
    holder = lock.Holder.current()
    stale = replace(holder, process_start=1) if reused else replace(holder, pid=ended_process())
    write_lock(tmp_path / "r.h5.lock", stale)
    with caplog.at_level(logging.WARNING), store.writer_lock(tmp_path / "r.h5"):
        assert f"process {stale.pid}" in caplog.text and "has ended" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not LINUX, reason="needs /proc")
def test_a_killed_holder_that_nobody_has_waited_for(tmp_path: Path) -> None:
    result = tmp_path / "r.h5"
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        with store.writer_lock(result):
            os.write(done, b"x")
            signal.pause()
    os.read(ready, 1)
    with pytest.raises(store.Locked), store.writer_lock(result):
        raise AssertionError
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # ended, but still in the process table
    with store.writer_lock(result):
        pass
    os.waitpid(pid, 0)


@pytest.mark.parametrize("elsewhere", [{"host": "node17"}, {"namespace": "pid:[1]"}])
def test_a_lock_from_elsewhere_is_never_broken(tmp_path: Path, elsewhere: dict[str, Any]) -> None:
    path = tmp_path / "r.h5.lock"
    write_lock(path, replace(lock.Holder.current(), pid=ended_process(), **elsewhere))
    before = path.read_text()
    with pytest.raises(store.Locked, match=r"remove .*r\.h5\.lock"):
        with store.writer_lock(tmp_path / "r.h5"):
            raise AssertionError
    assert path.read_text() == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\udcff", "null"])
def test_a_lock_that_cannot_be_read_is_not_broken(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.h5.lock"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(store.Locked, match="remove"), store.writer_lock(tmp_path / "r.h5"):
        raise AssertionError
    assert path.exists()


def test_only_the_own_lock_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "r.h5.lock"
    with store.writer_lock(tmp_path / "r.h5"):
        write_lock(path, replace(lock.Holder.current(), host="node17"))
    assert path.exists()


def test_a_lock_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", fail)
    with store.writer_lock(tmp_path / "r.h5"):
        with pytest.raises(store.Locked), store.writer_lock(tmp_path / "r.h5"):
            raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_rivals_for_a_stale_lock_never_hold_it_together(tmp_path: Path) -> None:
    result, inside = tmp_path / "r.h5", tmp_path / "inside"
    stale = replace(lock.Holder.current(), pid=ended_process())

    def rival() -> None:
        for _ in range(40):
            try:
                with store.writer_lock(result):
                    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if not alone
                    time.sleep(0.0005)
                    inside.unlink()
                    if os.getpid() % 2:  # leave it as a killed process would
                        write_lock(tmp_path / "new", stale)
                        (tmp_path / "new").replace(tmp_path / "r.h5.lock")
            except store.Locked:
                time.sleep(0.0005)

    logging.disable()
    try:
        write_lock(tmp_path / "r.h5.lock", stale)
        pids = []
        for _ in range(4):
            pids.append(os.fork())
            if pids[-1] == 0:
                code = 1
                try:
                    rival()
                    code = 0
                finally:
                    os._exit(code)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    finally:
        logging.disable(logging.NOTSET)
    with store.writer_lock(result):
        pass


# --- locks of a scheduler's jobs ------------------------------------------------------------------


def of_job(name: str | None, restarts: int = 0, **fields: Any) -> lock.Holder:
    """A holder on another node."""
    holder = replace(lock.Holder.current(), host="node17", job=name, restarts=restarts)
    return replace(holder, **fields)


@pytest.mark.parametrize(
    ("holder", "gone"),
    [
        (("12_3", 0), True),  # an earlier start of this very job
        (("12_3", 1), False),  # this start, another of its processes
        (("12_3", 2), False),  # a later start: this process is the old one
        (("12_4", 0), False),
        (("other:12_3", 0), False),
        ((None, 0), False),
    ],
)
def test_a_job_takes_over_from_its_earlier_starts(
    tmp_path: Path,
    holder: tuple[str | None, int],
    gone: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DDBENCH_JOB", "12_3")
    monkeypatch.setenv("DDBENCH_RESTARTS", "1")
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    path = tmp_path / "r.h5.lock"
    write_lock(path, of_job(*holder))
    if not gone:
        with pytest.raises(store.Locked, match="node17"), store.writer_lock(tmp_path / "r.h5"):
            raise AssertionError
        assert path.exists()
        return
    with store.writer_lock(tmp_path / "r.h5"):
        assert "of job 12_3" in caplog.text
        mine = json.loads(path.read_text())
        assert (mine["job"], mine["restarts"]) == ("12_3", 1)
    assert not path.exists()


def test_a_living_process_keeps_its_lock_whatever_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_JOB", "12_3")
    with store.writer_lock(tmp_path / "r.h5"):
        monkeypatch.setenv("DDBENCH_RESTARTS", "1")
        with pytest.raises(store.Locked), store.writer_lock(tmp_path / "r.h5"):
            raise AssertionError


def test_a_lock_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.h5.lock"
    old = asdict(replace(lock.Holder.current(), pid=ended_process()))
    for name in ("job", "restarts"):
        del old[name]
    path.write_text(json.dumps(old))
    with store.writer_lock(tmp_path / "r.h5"):
        pass
    path.write_text(json.dumps(old | {"host": "node17"}))
    with pytest.raises(store.Locked, match="node17"), store.writer_lock(tmp_path / "r.h5"):
        raise AssertionError


def test_locks_of_jobs_that_have_ended_are_released(tmp_path: Path) -> None:
    path, asked = tmp_path / "r.h5.lock", []

    def ended(job: str) -> bool:
        asked.append(job)
        return job == "a:12_3"

    assert not lock.release_ended(tmp_path / "r.h5", ended)
    for holder, released in ((of_job("a:12_3"), True), (of_job("a:12_4"), False)):
        write_lock(path, holder)
        assert lock.release_ended(tmp_path / "r.h5", ended) is released
        assert path.exists() is not released
    assert asked == ["a:12_3", "a:12_4"]
    for text in (
        json.dumps(asdict(of_job(None))),
        "",
        "{",
        json.dumps({"pid": 1, "job": "a:12_3"}),
    ):
        path.write_text(text)
        assert not lock.release_ended(tmp_path / "r.h5", ended) and path.exists()
    assert len(asked) == 2, "one without a job, or that cannot be read, is not asked about"


def test_a_lock_that_changes_hands_while_it_is_asked_about_stays(tmp_path: Path) -> None:
    path = tmp_path / "r.h5.lock"

    def ended(job: str) -> bool:
        write_lock(path, of_job("13"))
        return True

    write_lock(path, of_job("12"))
    assert not lock.release_ended(tmp_path / "r.h5", ended)
    assert json.loads(path.read_text())["job"] == "13"


def test_waiting_for_a_lock(tmp_path: Path) -> None:
    result, ready = tmp_path / "r.h5", threading.Event()

    def hold() -> None:
        with store.writer_lock(result):
            ready.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(10)
    began = time.monotonic()
    with pytest.raises(store.Locked), store.writer_lock(result, wait=0.1):
        raise AssertionError
    assert 0.1 <= time.monotonic() - began < 0.3
    turns = []
    with store.writer_lock(result, wait=30, between=lambda: turns.append(1)):
        assert turns and time.monotonic() - began < 10
    thread.join()

    def enough() -> None:
        raise InterruptedError

    with store.writer_lock(result), pytest.raises(InterruptedError):
        with store.writer_lock(result, wait=30, between=enough):
            raise AssertionError
    assert list(tmp_path.iterdir()) == []


# --- checkpoints -------------------------------------------------------------------------------


def make_state(number: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    return {
        "iteration": number,
        "x": torch.randn(50, generator=generator),
        "generator": generator.get_state(),
        "optimiser": {"state": {0: {"momentum_buffer": None}}, "groups": [(0.1, True)]},
    }


SETTINGS = {"threads": 2, "stack": 1, "microbatch": None}


def loaded(directory: Path) -> int | None:
    found = checkpoint.load(directory)
    if found is None:
        return None
    state, settings = found
    assert settings == SETTINGS
    expected = make_state(state["iteration"])
    assert torch.equal(state["x"], expected["x"])
    assert torch.equal(state["generator"], expected["generator"])
    assert state["optimiser"] == expected["optimiser"]
    return int(state["iteration"])


def test_checkpoints_keep_the_newest_and_one_back(tmp_path: Path) -> None:
    directory = tmp_path / "k-s0.ckpt"
    assert checkpoint.load(directory) is None
    for number in range(4):
        checkpoint.save(directory, make_state(number), SETTINGS)
        assert loaded(directory) == number
    assert len(list(directory.iterdir())) == 2
    for path in directory.iterdir():
        assert torch.load(path, weights_only=True)["settings"] == SETTINGS
    checkpoint.clear(directory)
    checkpoint.clear(directory)
    assert not directory.exists()


def test_clear_leaves_what_is_not_a_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", make_state(0), SETTINGS)
    (tmp_path / "c" / "notes.txt").write_text("mine")
    checkpoint.clear(tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "zeros"])
def test_a_damaged_checkpoint_falls_back(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        checkpoint.save(tmp_path, make_state(number), SETTINGS)
    newest = max(tmp_path.iterdir())
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    kept = {"flip": bytes(data), "cut": bytes(data[:-9]), "empty": b"", "zeros": bytes(len(data))}[
        damage
    ]
    newest.write_bytes(kept)
    assert loaded(tmp_path) == 1
    assert str(newest) in caplog.text and "is damaged" in caplog.text
    checkpoint.save(tmp_path, make_state(3), SETTINGS)  # the damaged one does not push out the good
    max(tmp_path.glob("*.pt")).write_bytes(b"")
    assert loaded(tmp_path) == 1
    max(tmp_path.glob("*.pt")).write_bytes(b"")
    assert loaded(tmp_path) is None
    checkpoint.clear(tmp_path)
    assert not tmp_path.exists()


def test_a_killed_or_failing_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, make_state(1), SETTINGS)
    for name in ("sync", "sync_directory", "_sha256"):

        def action(name: str = name) -> None:
            setattr(checkpoint, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            checkpoint.save(tmp_path, make_state(2), SETTINGS)

        assert os.WTERMSIG(in_child(action)) == signal.SIGKILL
        assert loaded(tmp_path) in (1, 2)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    before = sorted(tmp_path.glob("*.pt"))
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="full"):
        checkpoint.save(tmp_path, make_state(3), SETTINGS)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("value", [np.zeros(2), np.float64(1.0), object(), Path("x")])
def test_a_state_that_could_not_be_loaded_is_refused_when_saved(
    tmp_path: Path, value: object
) -> None:
    with pytest.raises(TypeError, match="state/a/0"):
        checkpoint.save(tmp_path, {"a": [value]}, {})
    assert list(tmp_path.iterdir()) == []
