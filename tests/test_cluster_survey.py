"""States of tasks from every mixture of records, and what cancel and retry make of them."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from submitted import SMALL

from ddbench.cluster import control, scheduler, submitting, worker
from ddbench.cluster.plan import Plan, plan
from ddbench.cluster.profile import Profile
from ddbench.cluster.records import Header, Progress, Queued, Submission, new_id, submissions
from ddbench.cluster.scheduler import Answer, JobState
from ddbench.cluster.survey import survey, working
from ddbench.content import code_digest
from ddbench.errors import BadInput, RunFailed
from ddbench.recipe import Recipe
from ddbench.store.lock import Locked, writer_lock


def made(
    tmp_path: Path, profile: Profile | None = None, *, seeds: int = 2, python: str = "/bin/false"
) -> Submission:
    """A recorded submission of a small recipe; nothing is queued."""
    profile = profile or Profile()
    recipe = Recipe.parse({**SMALL, "seeds": list(range(seeds))})
    results = tmp_path / "results"
    left = submitting._left([recipe], results, ask=False)
    header = Header(
        id=new_id(results), created="", command=[], host=socket.gethostname(), user="",
        cluster="", results=str(results), data=str(tmp_path), cache=str(tmp_path / "cache"),
        python=python, code=code_digest(), git="", version="", image="", inputs={},
        profile=profile,
    )  # fmt: skip
    planned: Plan = plan(left.cells, profile)
    submission = Submission.create(results, header, planned)
    for file in left.recipes:
        (submission.folder / file).parent.mkdir(parents=True)
        (submission.folder / file).write_text(recipe.to_yaml())
    return submission


def queued(submission: Submission, first: int = 10) -> None:
    for group in submission.plan.groups:
        job = str(first + group.number)
        submission.set_queued(group.number, Queued.of(job, len(group.elements)))


@pytest.fixture
def slurm_says(monkeypatch: pytest.MonkeyPatch) -> dict[str, JobState]:
    """What Slurm says of jobs; the key ``""`` means that it cannot be asked."""
    said: dict[str, JobState] = {}

    def answer(jobs: list[str]) -> Answer:
        if "" in said:
            return Answer({}, "Slurm cannot be reached: it hangs", sure=False)
        return Answer({job: said[job] for job in jobs if job in said})

    monkeypatch.setattr(scheduler, "states", answer)
    monkeypatch.setattr(scheduler, "find_by_name", lambda _: {})
    return said


def says(said: dict[str, JobState], **jobs: tuple[str, str]) -> None:
    said |= {name[1:]: JobState(name[1:], state, reason) for name, (state, reason) in jobs.items()}


def shown(results: Path) -> list[tuple[str, str]]:
    return [(state.state, state.kind) for state in survey(results).tasks]


@pytest.mark.parametrize(
    ("word", "told", "expected"),
    [
        (("PENDING", "Priority"), None, ("pending", "")),
        (("PENDING", "Dependency"), None, ("waiting", "")),
        (("PENDING", "BeginTime"), {"state": "cut off"}, ("cut off", "")),
        (("RUNNING", ""), None, ("running", "")),
        (("RUNNING", ""), {"state": "running"}, ("running", "")),
        (("RUNNING", ""), {"state": "failed", "kind": "killed"}, ("failed", "killed")),
        (("COMPLETING", ""), {"state": "cut off"}, ("cut off", "")),
        (("NODE_FAIL", ""), {"state": "running"}, ("failed", "node failure")),
        (("TIMEOUT", ""), {"state": "running"}, ("failed", "timeout")),
        (("OUT_OF_MEMORY", ""), {"state": "running"}, ("failed", "out of memory")),
        (("CANCELLED", "DependencyNeverSatisfied"), None, ("cancelled", "dependency")),
        (("FAILED", ""), {"state": "failed", "kind": "exception"}, ("failed", "exception")),
        (("COMPLETED", ""), {"state": "running"}, ("lost", "")),
        (("FAILED", ""), {"state": "cut off"}, ("failed", "preempted")),
        (("COMPLETED", ""), {"state": "done"}, ("lost", "")),  # and its file was removed
        (None, {"state": "running"}, ("lost", "")),
    ],
)
def test_a_task_is_what_its_records_and_slurm_say(
    tmp_path: Path,
    slurm_says: dict[str, JobState],
    word: tuple[str, str] | None,
    told: Mapping[str, Any] | None,
    expected: tuple[str, str],
) -> None:
    submission = made(tmp_path, seeds=1)
    queued(submission)
    if word:
        says(slurm_says, _10=word)
    if told:
        submission.set_progress(0, Progress(**{"job": "10", **told}))
    assert shown(submission.results)[0] == expected


def test_what_cannot_be_asked_is_unknown_and_nothing_is_queued_again(
    tmp_path: Path, slurm_says: dict[str, JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = made(tmp_path)
    queued(submission)
    slurm_says[""] = JobState("", "")
    results = submission.results
    assert {state for state, _ in shown(results)} == {"unknown"}
    monkeypatch.setattr(submitting, "check_tools", lambda _: None)
    recipe = Recipe.parse(SMALL)
    for ask in (
        lambda: submitting.submit([recipe], results, Profile(), command=[]),
        lambda: control.retry(results, None, command=[]),
        lambda: control.cancel(survey(results).tasks, results),
    ):
        with pytest.raises(RunFailed, match=r"not known.*hangs"):
            ask()
    assert len(submissions(results)) == 1


def test_a_folder_that_was_moved_is_read_where_it_is(
    tmp_path: Path, slurm_says: dict[str, JobState]
) -> None:
    submission = made(tmp_path, seeds=1)
    queued(submission)
    submission.set_progress(0, Progress("done", "10"))
    moved = submission.results.rename(tmp_path / "elsewhere")
    result = moved / submission.plan.tasks[0].result
    result.parent.mkdir(parents=True)
    result.write_bytes(b"")
    assert shown(moved)[0] == ("done", "")


def test_a_later_submission_counts_whatever_the_clocks_say(
    tmp_path: Path, slurm_says: dict[str, JobState]
) -> None:
    first = made(tmp_path, seeds=1)
    ahead = first.folder.with_name("29990101T000000Z-00000000")
    first.folder.rename(ahead)
    queued(Submission(ahead))
    again = made(tmp_path, seeds=1)
    queued(again, 20)
    assert again.id > ahead.name
    says(slurm_says, _10=("FAILED", ""), _20=("RUNNING", ""))
    assert shown(again.results)[0][0] == "running"
    assert list(working(again.results).results.values()) == ["20"]


def test_cancelling_one_run_spares_those_that_share_its_job(
    tmp_path: Path, slurm_says: dict[str, JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = made(tmp_path, Profile(tasks_per_node=2), seeds=3)
    queued(submission)
    says(slurm_says, _10_0=("RUNNING", ""), _10_1=("RUNNING", ""),
         _11_0=("PENDING", "Dependency"), _11_1=("PENDING", "Dependency"))  # fmt: skip
    ended: list[str] = []
    monkeypatch.setattr(scheduler, "cancel", ended.extend)
    results = submission.results
    control.cancel(control.chosen(results, ["small:0"]), results)
    assert ended == [], "10_0 also carries seed 1"
    assert submission.cancelled == {0, 3}
    control.cancel(control.chosen(results, ["small:2"]), results)
    assert sorted(ended) == ["10_1", "11_1"]
    control.cancel(control.chosen(results, ["small:1"]), results)
    assert sorted(ended) == ["10_0", "10_1", "11_0", "11_1"]


def test_a_name_that_nothing_has(tmp_path: Path, slurm_says: dict[str, JobState]) -> None:
    submission = made(tmp_path)
    with pytest.raises(BadInput, match="did you mean 'small:0'"):
        control.chosen(submission.results, ["smal:0"])


def test_locks_of_ended_jobs_are_freed_and_those_of_other_clusters_kept(
    tmp_path: Path, slurm_says: dict[str, JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = made(tmp_path, seeds=1)
    queued(submission)
    says(slurm_says, _10=("FAILED", ""), _12=("RUNNING", ""))
    monkeypatch.setattr(scheduler, "cluster", lambda: "here")
    now = working(submission.results)
    assert now.has_ended("here:10")
    assert now.has_ended("10")
    assert not now.has_ended("here:12")
    assert not now.has_ended("elsewhere:10")
    assert not now.has_ended("here:99")


def test_two_submissions_do_not_run_at_once(
    tmp_path: Path, slurm_says: dict[str, JobState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "check_tools", lambda _: None)
    monkeypatch.setattr(submitting, "_PATIENCE", 0.1)
    results = made(tmp_path).results
    held, until = threading.Event(), threading.Event()

    def other() -> None:
        with writer_lock(results / ".submissions" / "submit"):
            held.set()
            until.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    with pytest.raises(Locked, match="submit"):
        submitting.submit([Recipe.parse(SMALL)], results, Profile(), command=[])
    until.set()
    thread.join()


# --- the worker, with programs in place of runs --------------------------------------------------


@pytest.fixture
def handlers() -> Iterator[None]:
    """The worker takes signals over; the tests give them back."""
    numbers = (signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def job(
    tmp_path: Path, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """A job of Slurm: what the scheduler answers, and what it was asked."""
    asked: dict[str, Any] = {"state": "RUNNING", "refused": None, "requeued": 0}

    def requeue(_: str) -> str | None:
        asked["requeued"] += 1
        return asked["refused"]

    monkeypatch.setenv("SLURM_JOB_ID", "10")
    monkeypatch.setattr(scheduler, "current_state", lambda _: asked["state"])
    monkeypatch.setattr(scheduler, "requeue", requeue)
    monkeypatch.setattr(worker, "_KILLED_BY_SLURM", 0.0)
    monkeypatch.setattr(worker, "_POLL", 0.02)
    yield asked


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def work(submission: Submission) -> Progress:
    """Do the first task; what was told of it."""
    worker.Worker()(str(submission.folder), "0", "0")
    told = submission.progress(0)
    assert told is not None
    return told


def test_a_run_that_ends_well_is_done(tmp_path: Path, job: dict[str, Any]) -> None:
    told = work(made(tmp_path, seeds=1, python=program(tmp_path, "echo hello >&2")))
    assert (told.state, told.job, told.restarts) == ("done", "10", 0)
    assert "hello" in submissions(tmp_path / "results")[0].log(0).read_text()


def test_a_cut_off_run_has_its_job_queued_again(tmp_path: Path, job: dict[str, Any]) -> None:
    submission = made(tmp_path, seeds=1, python=program(tmp_path, "exit 75"))
    with pytest.raises(SystemExit):
        work(submission)
    told = submission.progress(0)
    assert told is not None
    assert (told.state, told.idle, job["requeued"]) == ("cut off", 1, 1)


@pytest.mark.parametrize("state", ["COMPLETING", "PENDING", "CANCELLED"])
def test_a_job_that_slurm_ends_itself_is_not_queued_again(
    tmp_path: Path, job: dict[str, Any], state: str
) -> None:
    job["state"] = state
    with pytest.raises(SystemExit):
        work(made(tmp_path, seeds=1, python=program(tmp_path, "exit 75")))
    assert job["requeued"] == 0


def test_a_busy_controller_is_asked_until_it_answers(
    tmp_path: Path, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job |= {"state": None, "refused": "Socket timed out"}
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: job.update(
        refused=None if job["requeued"] >= 3 else job["refused"]))  # fmt: skip
    submission = made(tmp_path, seeds=1, python=program(tmp_path, "exit 75"))
    with pytest.raises(SystemExit):
        work(submission)
    assert job["requeued"] == 4
    told = submission.progress(0)
    assert told is not None
    assert told.state == "cut off"


def test_a_cancelled_task_does_not_come_back(tmp_path: Path, job: dict[str, Any]) -> None:
    submission = made(tmp_path, seeds=1, python=program(tmp_path, "exit 75"))
    folder = submission.folder
    script = Path(submission.header.python)
    script.write_text(f"#!/bin/sh\necho 0 > {folder}/cancelled\nexit 75\n")
    assert work(submission).state == "cancelled"
    assert job["requeued"] == 0


def test_cancelled_alone_it_is_stopped_while_its_neighbours_go_on(
    tmp_path: Path, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_LOOK", 0.05)
    submission = made(tmp_path, Profile(scheduler="local", concurrency=1), seeds=2)
    lines = (
        'trap "exit 75" TERM',
        f'case "$*" in *"--seeds 0"*) echo 0 > {submission.folder}/cancelled;; *) exit 0;; esac',
        "while :; do sleep 0.05; done",
    )
    header = replace(submission.header, python=program(tmp_path, "\n".join(lines)))
    monkeypatch.setattr(Submission, "header", header)
    assert work(submission).state == "cancelled"
    other = submission.progress(1)
    assert other is not None
    assert other.state == "done"


def test_three_starts_without_anything_new_are_enough(tmp_path: Path, job: dict[str, Any]) -> None:
    submission = made(tmp_path, seeds=1, python=program(tmp_path, "exit 75"))
    for _ in range(worker.IDLE_STARTS - 1):
        with pytest.raises(SystemExit):
            work(submission)
    with pytest.raises(worker.TaskFailed, match="no progress"):
        work(submission)


def test_a_run_that_does_not_stop_is_killed_in_time_and_goes_on_later(
    tmp_path: Path, job: dict[str, Any]
) -> None:
    profile = Profile(time=1, signal_delay=5)
    text = 'trap "" USR2\nkill -USR2 $PPID\nwhile :; do sleep 0.1; done'
    submission = made(tmp_path, profile, seeds=1, python=program(tmp_path, text))
    with pytest.raises(SystemExit):
        work(submission)
    assert job["requeued"] == 1


def test_a_failed_run_is_explained(tmp_path: Path, job: dict[str, Any]) -> None:
    entry = '[{"recipe": "small", "seed": 0, "state": "failed", "reason": "MemoryError: no room"}]'
    text = f"echo '{entry}'\necho last words >&2\nexit 1"
    submission = made(tmp_path, seeds=1, python=program(tmp_path, text))
    with pytest.raises(worker.TaskFailed, match="no room"):
        work(submission)
    told = submission.progress(0)
    assert told is not None
    assert (told.state, told.kind) == ("failed", "out of memory")
    assert told.tail[-1] == "last words"


def test_a_worker_of_other_code_does_nothing(
    tmp_path: Path, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = made(tmp_path, seeds=1, python=program(tmp_path, f"touch {tmp_path}/ran"))
    monkeypatch.setattr(worker, "code_digest", lambda: "0" * 64)
    with pytest.raises(worker.TaskFailed, match="submitted was"):
        work(submission)
    assert not (tmp_path / "ran").exists()
