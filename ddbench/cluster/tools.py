"""The programs a cluster run needs: Slurm's, and a container runtime; what to do without them."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path

from ddbench.content import file_sha256
from ddbench.errors import BadInput, printable
from ddbench.places import cache_root
from ddbench.spec import fingerprint
from ddbench.store.atomic import publish

log = logging.getLogger(__name__)

RUNTIMES = ("apptainer", "singularity")
_PING_LIMIT = 5.0  # seconds
_INSPECT_LIMIT = 60.0  # seconds

# --- Slurm -------------------------------------------------------------------------------------


def require_slurm() -> None:
    """Whether jobs can be submitted from here.

    Raises:
        BadInput: ``sbatch`` is missing, or the controller does not answer.
    """
    if shutil.which("sbatch") is None:
        raise BadInput(
            "sbatch not found: this host is not a Slurm submit node. Run here with "
            "'ddbench run RECIPE', or log in to the cluster, or start the test cluster: "
            "slurm/up.sh DIR"
        )
    said = _ping()
    if said:
        conf = os.environ.get("SLURM_CONF", "not set")
        raise BadInput(
            f"Slurm's controller does not answer: {said} (SLURM_CONF: {conf}). Run here with "
            "'ddbench run RECIPE', or try again when it is up"
        )


def _ping() -> str:
    """What speaks against an answering controller; empty if it answers."""
    try:
        done = subprocess.run(
            ["scontrol", "ping"], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="replace", timeout=_PING_LIMIT, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        return "scontrol not found"
    except subprocess.TimeoutExpired:
        return f"no answer to 'scontrol ping' within {_PING_LIMIT:g} s"
    lines = [line.strip() for line in (done.stdout or done.stderr).splitlines()]
    if done.returncode == 0 or any(line.endswith("is UP") for line in lines):
        return ""
    told = [line for line in lines if line.strip("* ") and not line.startswith("*")]
    return printable((told[0] if done.stdout else told[-1]) if told else "no reason given")


_ADVICE = (
    ("Invalid partition name|invalid partition specified",
     "correct 'partition' in the profile ('sinfo -s' lists them)"),
    ("Invalid account",
     "correct 'account' in the profile, or 'partition', which may be closed to it ('sacctmgr show "
     "associations user=$USER' lists them)"),
    ("Invalid qos",
     "correct 'qos' in the profile ('sacctmgr show associations user=$USER' lists them)"),
    ("Invalid wckey", "correct 'wckey' in the profile ('sacctmgr show wckeys' lists them)"),
    ("Invalid feature",
     "correct 'constraint' in the profile ('sinfo -o \"%P %f\"' lists features)"),
    (r"Invalid generic resource|Invalid Trackable RESource \(TRES\)|Invalid GRES",
     "correct 'gres' in the profile ('sinfo -o \"%P %G\"' lists them)"),
    ("Memory specification can not be satisfied", "ask for less 'memory' in the profile"),
    ("Invalid job array",
     "lower 'max_array' in the profile to MaxArraySize - 1 ('scontrol show config')"),
    ("SubmitJob|MaxJobCount|maximum job count",
     "too many jobs are queued: retry when some have ended"),
    ("WallDuration|MaxWall", "ask for less 'time' in the profile, or for another 'qos'"),
    (r"\b(?:QOS|Assoc)\w*?(?:C[Pp][Uu]|Node|G[Rr][Ee][Ss]|Mem|T[Rr][Ee][Ss]|Billing)",
     "ask for fewer 'gpus', 'cpus', 'nodes' or less 'memory' in the profile, or for another 'qos'"),
    ("violates accounting/QOS policy",
     "ask for less 'time', 'gpus' or 'cpus' in the profile, or for another 'account' or 'qos'"),
    ("time limit is invalid|Invalid time limit",
     "ask for less 'time' in the profile ('sinfo -o \"%P %l\"' lists limits)"),
    ("More processors requested|CPU count per node can not be satisfied|Node count specification",
     "ask for fewer 'cpus', 'tasks_per_node' or 'nodes' in the profile"),
    ("Requested node configuration is not available",
     "ask for fewer 'gpus', 'cpus', less 'memory' or other 'gres' in the profile, or for another "
     "'partition' ('sinfo -o \"%P %c %m %G\"' lists what nodes have)"),
    ("partition not available|partition is (?:down|inactive)|PartitionDown",
     "wait until the partition is up, or take another 'partition' in the profile"),
    ("Unable to contact slurm controller|Socket timed out|Connection refused|"
     "Zero Bytes were transmitted|Slurm temporarily unable|Resource temporarily unavailable",
     "retry when the controller answers"),
    ("access/permission denied|Access denied|not permitted to use",
     "take a 'partition' or 'account' in the profile that you may use"),
    (r"unrecognized option|Invalid --[a-z-]+ specification|[Rr]eservation|[Ll]icense|node name",
     "correct 'extra' in the profile, which holds further options of sbatch"),
)  # fmt: skip
"""What sbatch says, and what to do about it; the first that fits counts."""


def explain_refusal(said: str) -> str:
    """What sbatch wrote when it refused a job, in one line, with the profile's field to change."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [re.sub(r"^sbatch: (?:error: |fatal: )?|^Batch job submission failed: ", "", line)
            for line in lines]  # fmt: skip
    told = [line.removeprefix("Batch job submission failed: ") for line in told]
    text = "; ".join(dict.fromkeys(line for line in told if not line.startswith('Try "sbatch')))
    advice = next((advice for form, advice in _ADVICE if re.search(form, text)), "")
    return printable("sbatch: " + "; ".join(filter(None, (text or "no reason given", advice))))


# --- containers --------------------------------------------------------------------------------


def runtime(name: str = "auto") -> Path | None:
    """The program that starts containers: of this name, or with ``auto`` the first there is."""
    names = RUNTIMES if name == "auto" else (name,)
    found = next(filter(None, map(shutil.which, names)), None)
    return Path(found).absolute() if found else None


def require_runtime(name: str = "auto") -> Path:
    """The same; raises ``BadInput`` where it is missing."""
    found = runtime(name)
    if found is None:
        missing = "neither apptainer nor singularity" if name == "auto" else f"no {name}"
        raise BadInput(
            f"{missing} on PATH: 'module load apptainer' ('modules' in the profile), or "
            "containers/get-apptainer.sh, or run without a container (container: null)"
        )
    return found


def image_digest(image: Path) -> str:
    """SHA-256 of an image, in hex; remembered below ``cache_root()`` until the file changes.

    Raises:
        OSError: it cannot be read.
    """
    path = image.resolve()
    state = _file_state(path)
    memory = cache_root() / "images" / f"{fingerprint(str(path))}.json"
    known = _remembered(memory, state)
    if known is not None:
        return known
    digest = file_sha256(path)
    if _file_state(path) == state:  # nobody wrote to it meanwhile
        _remember(memory, state, digest)
    return digest


def _file_state(path: Path) -> list[str | int]:
    """What changes when a file does. The time of its inode tells even of a kept ``mtime``."""
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _remembered(memory: Path, state: list[str | int]) -> str | None:
    try:
        entry = json.loads(memory.read_text(encoding="utf-8"))
        digest, check = entry["sha256"], entry["check"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if check == fingerprint([*state, str(digest)]) else None


def _remember(memory: Path, state: list[str | int], digest: str) -> None:
    entry = {"file": state, "sha256": digest, "check": fingerprint([*state, digest])}
    try:
        with publish(memory) as temporary:
            temporary.write_text(json.dumps(entry), encoding="utf-8")
    except OSError as error:
        log.debug("the digest of %s is not remembered: %s", state[0], error)


def image_labels(runtime: Path, image: Path) -> dict[str, str]:
    """The labels of an image.

    Raises:
        BadInput: it is missing or no image.
    """
    if not image.is_file():
        raise BadInput("no such image", file=image, allowed="containers/build.sh makes one")
    drop = needed_drop_caps()
    own = {f"{name.upper()}_DROP_CAPS": drop for name in RUNTIMES} if drop else {}
    try:
        done = subprocess.run(
            [runtime, "inspect", "--json", str(image.absolute())], env=own | os.environ,
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=_INSPECT_LIMIT, check=False,
        )  # fmt: skip
        found = json.loads(done.stdout)["data"]["attributes"]["labels"] or {}
        return {str(name): str(text) for name, text in found.items()}
    except subprocess.TimeoutExpired:
        said = f"no answer within {_INSPECT_LIMIT:g} s"
    except (ValueError, KeyError, TypeError, AttributeError):
        said = (done.stderr.strip().splitlines() or ["its output cannot be read"])[-1]
    raise BadInput(f"{runtime.name} cannot inspect it: {said}", file=image)


# --- capabilities ------------------------------------------------------------------------------

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE"
    " NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO"
    " SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME"
    " SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG"
    " WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
"""By number, as in linux/capability.h."""


def needed_drop_caps(proc: Path = Path("/proc")) -> str:
    """Capabilities that root lacks here, as ``CAP_A,CAP_B``; empty for everyone else.

    Apptainer, run by root, asks for all that the kernel has and fails on a machine whose root has
    fewer, unless it is told to drop those.
    """
    try:
        status = (proc / "self/status").read_text(encoding="utf-8", errors="replace")
        last = int((proc / "sys/kernel/cap_last_cap").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    said = dict(re.findall(r"^(\w+):\s*(\S+)", status, re.MULTILINE))
    if said.get("Uid") != "0":
        return ""
    held = int(said.get("CapPrm", "0"), 16) & int(said.get("CapBnd", "0"), 16)
    known = enumerate(_CAPABILITIES[: last + 1])
    return ",".join(f"CAP_{name}" for bit, name in known if not held >> bit & 1)
