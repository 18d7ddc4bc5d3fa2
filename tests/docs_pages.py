"""The commands of README and docs/: where each is run, and by what those are held that cannot be run here as they stand."""

import re

from tests.shells import REPOSITORY

PAGES = {path.name: path for path in [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]}

# Pages whose commands follow each other through one story: the test that runs all of it.
STORIES = {
    "conversion.md": "tests/test_docs_conversion.py",
    "deeplabcut_models.md": "tests/test_docs_models.py",
    "experiment_trackers.md": "tests/training/test_experiment_trackers.py",
    "experiments.md": "tests/test_docs_experiments.py",
    "export.md": "tests/test_docs_export.py",
    "extending.md": "tests/test_docs_extending.py",
    "few_labels.md": "tests/test_docs_few_labels.py",
    "published_models.md": "tests/test_docs_models.py",
}

# How a command begins that is not run as it stands: why, and the test that runs the same with what there is.
HELD_ELSEWHERE = {
    "make train": ("makes an environment from the package index", "tests/test_docs_followed.py::test_what_make_runs"),
    "make test": ("is all tests", "tests/test_docs_followed.py::test_what_make_runs"),
    "dlcpose models": (
        "builds every model, which takes a minute; once is enough",
        "tests/cli/test_models.py::test_the_table_and_the_json_list_every_model",
    ),
    "dlcpose predict-camera": (
        "needs a camera; a stream stands for it",
        "tests/cli/test_predict.py::test_a_stream_is_predicted_frame_by_frame",
    ),
    "python train.py trainer=ddp trainer.devices=": (
        "needs several GPUs; two processes on the CPU stand for them",
        "tests/runs/test_ddp.py::test_two_processes_give_what_one_gives_with_twice_the_batch",
    ),
    "python train.py -m trainer=ddp trainer.devices=2 seed=0,1,2": (
        "needs two GPUs; two processes on the CPU stand for them",
        "tests/runs/test_ddp.py::test_torchrun_on_two_machines_runs_every_job_of_a_sweep",
    ),
    "python train.py -m hparams_search=rates trainer=ddp trainer.devices=2": (
        "needs two GPUs; two processes on the CPU stand for them",
        "tests/runs/test_ddp.py::test_each_trial_of_a_search_is_one_run_of_two_processes",
    ),
    "torchrun --nnodes=2": (
        "needs two machines; two processes stand for them",
        "tests/runs/test_ddp.py::test_torchrun_on_two_machines_runs_every_job_of_a_sweep",
    ),
    "srun --kill-on-bad-exit=1": (
        "needs SLURM and two machines; what SLURM tells its processes is told here",
        "tests/runs/test_ddp.py::test_a_job_of_slurm_that_is_queued_again_finds_its_folder",
    ),
    "dlcpose-predict -m hydra/launcher=slurm": (
        "needs SLURM; processes of this machine stand for it",
        "tests/cli/test_predict.py::test_many_videos_by_a_launcher",
    ),
    "dlcpose-predict -m hydra/launcher=ray_cluster": (
        "needs a cluster of GPUs; its config and a cluster of this machine are tried",
        "tests/runs/test_launchers.py::test_jobs_side_by_side",
    ),
    "python train.py model=top_down_resnet_18 detector=fasterrcnn_mobilenet_v3_large_fpn detector.pretrained=true": (
        "fetches weights over the network; the same without them is run",
        "tests/test_docs_followed.py::test_a_detector_that_is_fetched",
    ),
    # On pages that are stories.
    "python train.py -m hydra/launcher=": (
        "needs SLURM, GPUs or a cluster; its config is composed, and stand-ins run jobs",
        "tests/runs/test_launchers.py::test_jobs_of_slurm",
    ),
    "DLCPOSE_DEEPLABCUT_PYTHON=": (
        "needs DeepLabCut in an environment of its own",
        "tests/importers/test_deeplabcut_parity.py::test_whole_images",
    ),
    "DLCPOSE_DEEPLABCUT_LIVE_PYTHON=": (
        "needs DeepLabCut-Live in an environment of its own",
        "tests/model_formats/test_deeplabcut_live.py::test_live_predicts_what_the_checkpoint_does",
    ),
    "python benchmarks/imported_figures.py": (
        "needs DeepLabCut in an environment of its own; that it imports and prints its usage is tested",
        "tests/test_benchmarks.py::test_benchmarks_import_and_print_their_usage",
    ),
}


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGES[page].read_text(encoding="utf-8"), re.DOTALL)


def pages_of_python() -> list[str]:
    """Pages whose blocks of Python are run one after the other; those of a page that is a story are run by its test."""
    return [page for page in PAGES if page not in STORIES and python_blocks(page)]


def shell_lines(text: str) -> list[str]:
    """Commands in blocks of a shell, those that go on in the next line as one."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def console_lines(text: str) -> list[tuple[str, list[str]]]:
    """(command, what it prints) in blocks of a console."""
    found: list[tuple[str, list[str]]] = []
    for line in "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def inline_commands(text: str) -> list[str]:
    """Commands within sentences and tables, where they have arguments: `python train.py model=resnet_50`."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))
    return [span for span in spans if re.match(r"(dlcpose(-\w+)?|python \w\S*\.py) \S", span)]


def commands_of(page: str) -> list[str]:
    return shell_lines(PAGES[page].read_text(encoding="utf-8"))


def held_elsewhere(command: str) -> tuple[str, str] | None:
    """Why a command is not run as it stands, and the test that holds it; None where it is to be run."""
    return next((held for begins, held in HELD_ELSEWHERE.items() if command.startswith(begins)), None)


def commands_to_follow() -> list[tuple[str, str]]:
    """(page, command) of all pages that are no story, but those that are held elsewhere."""
    return [
        (page, command)
        for page in PAGES
        if page not in STORIES
        for command in commands_of(page)
        if held_elsewhere(command) is None
    ]
