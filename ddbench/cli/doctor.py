"""``ddbench doctor``: what works on this machine and what does not."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ddbench.cli import _options

HELP = "versions, GPU, data root, cluster tools, container runtime"
EXAMPLE = "ddbench doctor"

_PACKAGES = (
    "ddbench", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pydantic", "h5py",
    "kornia", "pandas", "submitit", "safetensors", "timm",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    _options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if something that every run needs does not work."""
    findings = {**_versions(), **_torch(), **_folders(), **_tools()}
    if args.json:
        print(json.dumps(findings, indent=2))
    else:
        width = max(map(len, findings))
        print("\n".join(f"{name:<{width}}  {text}" for name, text in findings.items()))
    return 1 if any(text.startswith("BROKEN") for text in findings.values()) else 0


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "BROKEN: not installed; pip install ddbench"
    return found


def _torch() -> dict[str, str]:
    try:
        import torch

        (torch.ones(2, 2) @ torch.ones(2, 2)).sum().item()
    except Exception as error:
        return {"torch works": f"BROKEN: {error}"}
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu threads": str(torch.get_num_threads()),
        "cuda": torch.version.cuda or "torch is a CPU build",
        "gpu": ", ".join(gpus) or "none visible: runs use the CPU",
        "torchvision": f"{version('torchvision')}, {_torchvision()}",
    }


def _torchvision() -> str:
    """Whether datasets can be read and whether the compiled operators are there."""
    try:
        import torch
        from torchvision.ops import nms  # type: ignore[import-untyped]

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # a CPU torch beside a CUDA torchvision fails on import
        return f"BROKEN: {str(error).splitlines()[0]} (install a matching torchvision)"
    return "native operators"


def _folders() -> dict[str, str]:
    from ddbench.places import cache_root, data_root, results_root

    return {
        "data": _folder(data_root(), "DDBENCH_DATA"),
        "cache": _folder(cache_root(), "DDBENCH_CACHE"),
        "results": _folder(results_root(), "DDBENCH_RESULTS"),
    }


def _folder(path: Path, variable: str) -> str:
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(existing).free
    state = "writable" if os.access(existing, os.W_OK) else "NOT writable"
    made = "" if path.exists() else ", not there yet"
    return f"{path} ({state}, {_options.human(free)} free{made}; set {variable} to move it)"


def _tools() -> dict[str, str]:
    from ddbench.cluster.tools import needed_drop_caps

    slurm = [path for path in map(shutil.which, ("sbatch", "squeue")) if path]
    runtimes = [path for path in map(shutil.which, ("apptainer", "singularity")) if path]
    lacking = needed_drop_caps() if runtimes else ""
    advice = f"; root lacks capabilities: export APPTAINER_DROP_CAPS={lacking}" if lacking else ""
    return {
        "slurm": ", ".join(slurm) or "no sbatch, squeue (not needed)",
        "container": (", ".join(runtimes) or "no apptainer, singularity (not needed here)")
        + advice,
    }
