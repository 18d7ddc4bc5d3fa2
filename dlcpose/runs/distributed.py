"""One process for each device: started here for one machine, by torchrun or SLURM's srun for several.

In both cases only one process composes the config, and with it determines the run folder and, in a sweep, the
hyperparameters; the others receive its config. Lightning's own launcher would run the shell's command again for each
device, which gives each its own folder, and within a sweep its own sweep.
"""

import contextlib
import json
import logging
import logging.config
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.runs.provenance import OVERRIDES, overrides
from dlcpose.structures.counted import counted
from dlcpose.structures.environment import MAX_PORT, check_environment, count_of, cpu_cores
from dlcpose.structures.errors import ConfigError, DlcposeError

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

Train = Callable[[dict[str, Any]], Any]
MONTH = timedelta(days=30)  # how long a process waits for the next job of a sweep
NOT_ON_WINDOWS = ("SIGUSR1", "SIGHUP", "SIGQUIT")  # signals that torch handles besides SIGTERM and SIGINT
PATIENCE = 120  # seconds that processes have to save a checkpoint after SIGTERM

logger = logging.getLogger(__name__)


class RankError(DlcposeError):
    """One of several processes that train together has failed."""


def _job(config: dict[str, Any]) -> dict[str, Any]:
    """The state that another process needs to take part in a run, and to log it as this one would."""
    return {"config": config, "argv": sys.argv, "overrides": overrides(), "logging": _logging()}


def _logging() -> dict[str, Any] | None:
    """Hydra's logging configuration, to the screen and to train.log; None outside of Hydra."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if not HydraConfig.initialized():
        return None
    content = OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def take_over(job: Mapping[str, Any]) -> None:
    """Take over the command line and overrides of the process that started this one, for the records of the run."""
    sys.argv = job["argv"]
    OVERRIDES.set(tuple(job["overrides"]))


# ------------------------------------------------------------------------------------------- processes started here


def processes_needed(config: Mapping[str, Any]) -> int:
    """The number of processes that this command has to start: one for each device where there are several, else 0.

    Raises ConfigError for several machines, which only torchrun and SLURM can start, and for more GPUs than there are. Warns
    of more processes than the CPU has cores.
    """
    devices, nodes = _devices_and_nodes(config["trainer"])
    if started_by_others():
        return 0
    if nodes != 1:
        raise ConfigError(
            f"trainer.num_nodes={nodes}: start it on each machine with torchrun, or with srun under SLURM "
            "(docs/many_devices.md has the commands)."
        )
    if devices > 1:
        _check_there(devices, config["trainer"]["accelerator"])
    return devices if devices > 1 else 0


def _check_there(devices: int, accelerator: str) -> None:
    """Raises ConfigError for more GPUs than there are, and warns of more processes than the CPU has cores."""
    import torch

    gpus = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and gpus):
        if devices > gpus:
            raise ConfigError(
                f"trainer.devices={devices}: this machine has {gpus} GPUs that torch can use. Take at most as many, or "
                "trainer.accelerator=cpu."
            )
    elif devices > (cores := cpu_cores()):
        logger.warning(
            "trainer.devices=%d: these are processes that share %d CPU cores, and slower than %d of them.",
            devices,
            cores,
            cores,
        )


def _devices_and_nodes(trainer: Mapping[str, Any]) -> tuple[int, int]:
    """How many devices of how many machines the trainer's settings name."""
    return _devices(trainer.get("devices", 1), trainer["accelerator"]), trainer.get("num_nodes", 1)


def _devices(devices: Any, accelerator: str) -> int:
    """How many devices Lightning would take for `trainer.devices`."""
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([device for device in devices.split(",") if device.strip()])
    if str(devices) not in ("auto", "-1"):
        return int(devices) if str(devices).isdecimal() else 1  # else Lightning raises the error
    import torch

    return max(1, torch.cuda.device_count()) if accelerator in ("auto", "gpu", "cuda") else 1


def train_in_processes(config: dict[str, Any], count: int, module: str) -> Any:
    """Train in `count` processes of this machine that run `module`; returns the result of rank 0.

    Raises RankError, with the reason of the process that failed first, when the others have been ended.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="dlcpose_") as folder, _as_a_launcher(count):
        handed = Path(folder) / "run.json"
        handed.write_text(json.dumps({**_job(config), "parent": os.getpid()}), encoding="utf-8")
        launch = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=f"dlcpose_{os.getpid()}",
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(launch, sys.executable)("-m", module, str(handed))
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            said: Any = failure.error_file_data.get("message", failure.message)
            message = said["message"] if isinstance(said, dict) else said
            raise RankError(_why(rank, count, failure.exitcode, str(message))) from None
        except SignalException as received:
            raise SystemExit(128 + received.sigval) from None
        return json.loads(handed.with_suffix(".result").read_text(encoding="utf-8"))


@contextlib.contextmanager
def _as_a_launcher(count: int) -> Iterator[None]:
    """Set the environment that the processes inherit, and forward signals to them while they run."""
    from torch.distributed.elastic.multiprocessing import SignalException

    def hand_on(number: int, frame: Any) -> None:
        raise SignalException(f"got {number}", sigval=signal.Signals(number))

    before, is_main = dict(os.environ), threading.current_thread() is threading.main_thread()
    handled = [signal.SIGTERM, signal.SIGINT] + [
        getattr(signal, name) for name in NOT_ON_WINDOWS if hasattr(signal, name)
    ]
    handlers = {number: signal.getsignal(number) for number in handled}
    logger, level = logging.getLogger("torch.distributed"), logging.getLogger("torch.distributed").level
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in [*sys.path, before.get("PYTHONPATH", "")] if path)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_cores() // count)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(PATIENCE))
    logger.setLevel(logging.CRITICAL)  # a failed process is reported in one line
    if is_main and hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, hand_on)  # torch forwards the other signals itself
    try:
        yield
    finally:
        logger.setLevel(level)
        os.environ.clear()
        os.environ.update(before)
        if is_main:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _why(rank: int, count: int, code: int, message: str) -> str:
    kind, _, reason = message.partition(": ")
    if kind == RankError.__name__:
        return reason
    if code == -signal.SIGTERM or code == 128 + signal.SIGTERM:
        return f"process {rank} of {count} was stopped by SIGTERM. Go on with resume=last."
    if code == -9:
        return (
            f"process {rank} of {count} was killed, mostly for want of memory: lower datamodule.batch_size, "
            "datamodule.workers or datamodule.cache_gb, each of which counts for every process; go on with resume=last."
        )
    return f"process {rank} of {count} failed: {message}"


# ------------------------------------------------------------------------------------- processes started by others


def started_by_others() -> bool:
    """Whether torchrun or srun started this process as one of several. Raises ConfigError for counts that are none."""
    check_environment()
    return _how_many() > 1


def _how_many() -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return count_of("WORLD_SIZE")
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return 1
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))  # set by srun; a batch script alone has none


def _rank() -> int:
    return count_of("RANK" if "TORCHELASTIC_RUN_ID" in os.environ else "SLURM_PROCID")


def is_follower() -> bool:
    """Whether another process composes what this one trains."""
    return started_by_others() and _rank() > 0


class Leader:
    """Hands the config of each job to the processes that were started with this one; nothing where there are none."""

    store: "TCPStore | None" = None
    jobs = 0

    def hand_on(self, config: dict[str, Any]) -> None:
        """Raises ConfigError where the trainer's number of devices is not that of the processes."""
        if not started_by_others():
            return
        (devices, nodes), count = _devices_and_nodes(config["trainer"]), _how_many()
        if devices * nodes != count:
            raise ConfigError(
                f"trainer.devices={devices} trainer.num_nodes={nodes}: "
                f"{counted(count, 'process was', 'processes were')} started, one for each "
                "device is needed. Say trainer=ddp, with the processes of each machine as trainer.devices and the "
                "machines as trainer.num_nodes."
            )
        self._say(_job(config))

    def end(self) -> None:
        """Let the others end, where there are any."""
        if started_by_others():
            self._say(None)
            assert self.store is not None
            if _hosts_store():
                with contextlib.suppress(RuntimeError):  # one of them has failed
                    self.store.wait([f"dlcpose/left/{rank}" for rank in range(1, _how_many())], timedelta(seconds=60))

    def _say(self, content: Any) -> None:
        self.store = self.store or _store(leads=True)
        self.store.set(f"dlcpose/job/{self.jobs}", json.dumps(content))
        self.jobs += 1


LEADER = Leader()


def follow_leader(train: Train) -> None:
    """Train each config that the first process composes, until it has no more."""
    from dlcpose.config.messages import explain, fail

    store, job = _store(leads=False), 0
    try:
        while (content := json.loads(store.get(f"dlcpose/job/{job}"))) is not None:
            job += 1
            take_over(content)
            train(content["config"])
    except Exception as error:
        if (reason := explain(error, "train", ())) is None:
            raise
        fail(f"process {_rank()}: {reason}")
    store.set(f"dlcpose/left/{_rank()}", "")


def _hosts_store() -> bool:
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


def _store(*, leads: bool) -> "TCPStore":
    """The store for the first process's configs: torchrun's own, or one at a port beside the training's."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    place = TorchElasticEnvironment() if "TORCHELASTIC_RUN_ID" in os.environ else SLURMEnvironment()
    if not _hosts_store():
        return TCPStore(place.main_address, place.main_port, is_master=False, timeout=MONTH)
    port = place.main_port + (10_000 if place.main_port + 10_000 <= MAX_PORT else -10_000)
    return TCPStore(place.main_address, port, is_master=leads, wait_for_workers=False, timeout=MONTH)
