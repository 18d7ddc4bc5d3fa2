"""`dlcpose doctor`: check whether this machine can train, and say how to fix what is wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted

HUB = "https://huggingface.co"
MIN_DISK_GB, MIN_MEMORY_GB, MIN_SHARED_MB = 5.0, 4.0, 512.0
SECONDS = 2.0  # of training


class Finding(NamedTuple):
    """One line of the report. fix: what to do about a problem, empty where there is none."""

    what: str
    result: str
    fix: str = ""


@command("doctor")
def doctor_command(
    folder: Annotated[Path, typer.Argument(help="Where runs will be written.")] = Path(),
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask whether the hub of weights is there.")] = False,
) -> None:
    """Check versions, devices, memory, disk, the hub of pretrained weights, and train for two seconds."""
    is_well = True
    hub = [] if offline else [_hub]
    for check in (_versions, _devices, lambda: _disk(folder), _memory, *hub, _training):
        for finding in _findings(check):
            is_well = is_well and not finding.fix
            say(f"{'!!' if finding.fix else 'ok'} {finding.what}: {finding.result}")
            if finding.fix:
                say(f"   {finding.fix}")
    say("nothing is wrong" if is_well else "fix what is marked !!")
    raise typer.Exit(0 if is_well else 1)


def _findings(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check; one that fails is a finding, too."""
    try:
        yield from check()
    except Exception as error:
        name = getattr(check, "__name__", "a check").strip("_<>")
        result = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        yield Finding(name, result, "Install dlcpose anew in an environment of its own: pip install dlcpose.")


def _versions() -> Iterator[Finding]:
    import platform

    from dlcpose.structures.versions import versions

    result = ", ".join(f"{name} {version}" for name, version in versions().items())
    yield Finding("versions", f"{result}, on {platform.platform()}")


def _devices() -> Iterator[Finding]:
    import torch

    from dlcpose.prediction.precision import NO_MPS
    from dlcpose.structures.environment import cpu_cores
    from dlcpose.training.trainer import fastest_precision

    yield Finding(
        "processor",
        f"{counted(cpu_cores(), 'core')}, {counted(torch.get_num_threads(), 'thread')}, {fastest_precision('cpu')}",
    )
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        yield Finding("GPU", f"cuda:{number} {facts.name}, {facts.total_memory / 2**30:.0f} GB")
    if torch.backends.mps.is_available():
        yield Finding("GPU", f"none that dlcpose can use: {NO_MPS}")
    elif not torch.cuda.is_available():
        has_driver = Path("/proc/driver/nvidia/version").exists()
        wrong = (
            "There is an NVIDIA driver, but this torch has no CUDA for it: install the build that pytorch.org names."
        )
        yield Finding("GPU", "none that torch can use", wrong if has_driver else "")


def _disk(folder: Path) -> Iterator[Finding]:
    import shutil
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding(
            "folder", f"{folder.absolute()}: {error.strerror or error}", "Give a folder that you may write to."
        )
        return
    free = shutil.disk_usage(folder).free / 2**30
    fix = f"Runs need room for checkpoints: free {MIN_DISK_GB:g} GB, or write elsewhere (hydra.run.dir=...)."
    yield Finding("disk", f"{free:.1f} GB free in {folder.absolute()}", fix if free < MIN_DISK_GB else "")


def _memory() -> Iterator[Finding]:
    import os
    import shutil
    import sys

    if sys.platform != "win32" and "SC_AVPHYS_PAGES" in os.sysconf_names:
        page = os.sysconf("SC_PAGE_SIZE")
        free, total = (page * os.sysconf(name) / 2**30 for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
        fix = "Lower datamodule.cache_gb and datamodule.workers, or close other programs."
        yield Finding("memory", f"{total:.1f} GB, {free:.1f} GB free", fix if total < MIN_MEMORY_GB else "")
    shared = Path("/dev/shm")
    if shared.is_dir():
        room = shutil.disk_usage(shared).free / 2**20
        fix = "Batches go through it: start the container with --shm-size=2g, or train with datamodule.workers=0."
        yield Finding("shared memory", f"{room:.0f} MB free in {shared}", fix if room < MIN_SHARED_MB else "")


def _hub() -> Iterator[Finding]:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(urllib.request.Request(HUB, method="HEAD"), timeout=5):
            yield Finding("hub", f"{HUB} can be reached")
    except urllib.error.HTTPError as error:
        yield Finding("hub", f"{HUB} can be reached (HTTP {error.code})")
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        yield Finding(
            "hub",
            f"{HUB} cannot be reached ({reason})",
            "Without it backbone.pretrained=true has no weights: give a file by backbone.checkpoint_path=, or set HF_HOME to "
            "a cache that has them.",
        )


def _training() -> Iterator[Finding]:
    import time

    import torch

    from dlcpose.build import build_input, build_pipeline, build_trunk
    from dlcpose.config.compose import compose
    from dlcpose.datasets.crops import fit_to_canvas
    from dlcpose.datasets.synthetic.frames import SyntheticFrames
    from dlcpose.instantiate import Instantiator
    from dlcpose.pipelines.components import TrainingContext
    from dlcpose.structures.batch import collate
    from dlcpose.structures.data_description import DataDescription

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, instantiate = compose(["model=resnet_18"]), Instantiator()
    data = SyntheticFrames(frames=4, height=64, width=64)
    trunk = build_trunk(config, instantiate)
    model_input = build_input(config, instantiate, trunk, [(frame.height, frame.width) for frame in data.frames])
    described = DataDescription(data.skeleton, model_input, data.max_animals)
    pipeline: Any = build_pipeline(config, instantiate, described, trunk=trunk, to_train=TrainingContext()).to(device)
    batch = pipeline.normalized(collate([fit_to_canvas(data[index], model_input) for index in range(4)]).to(device))
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=1e-3)
    losses, began = list[float](), time.perf_counter()
    while len(losses) < 2 or time.perf_counter() - began < SECONDS:
        terms = pipeline.losses(pipeline(batch.images), pipeline.encode(batch))
        total: Any = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    rate = 4 * len(losses) / (time.perf_counter() - began)
    result = (
        f"{counted(len(losses), 'step')} on {device}, {rate:.0f} images/s, loss {losses[0]:.3f} to {losses[-1]:.3f}"
    )
    is_learning = losses[-1] < losses[0]
    fix = "The loss does not fall, so torch computes something else here: look for another build of torch."
    yield Finding("training", result, "" if is_learning else fix)
