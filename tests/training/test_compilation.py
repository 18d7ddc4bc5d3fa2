"""Compiled or not, a network learns the same; where torch cannot compile is told in one line."""

from pathlib import Path

import pytest
import torch

from dlcpose.pipelines.detection import Detection
from dlcpose.structures.errors import ConfigError
from dlcpose.training.compilation import check_compile, compile_networks
from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of

CPU = torch.device("cpu")


def trained(folder: Path, chosen: bool | str) -> dict[str, torch.Tensor]:
    pipeline, module = run_of(tiny_config(), frames_of(4), min_steps=2)
    compile_networks(chosen, pipeline, CPU)
    assert (pipeline.backbone._compiled_call_impl is None) is (chosen is False)
    trainer_of(folder, max_epochs=1).fit(pipeline, datamodule=module)
    return pipeline.state_dict()


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_weights_under_the_same_names(tmp_path: Path) -> None:
    plain, compiled = trained(tmp_path, False), trained(tmp_path, "eager")
    assert list(compiled) == list(plain)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("chosen", ["inductive", 1, None])
def test_what_is_no_backend_is_refused(chosen: object) -> None:
    with pytest.raises(ConfigError, match=r"compile: expected true, false or one of .*inductor"):
        check_compile(chosen)


def test_what_torch_cannot_do_here_is_one_line() -> None:
    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin a page of text\nand another")

    torch._dynamo.register_backend(broken, name="broken_for_a_test")
    pipeline, _ = run_of(tiny_config(), frames_of(4))
    with pytest.raises(ConfigError) as refused:
        compile_networks("broken_for_a_test", pipeline, CPU)
    said = str(refused.value)
    assert said.startswith("compile=broken_for_a_test: torch cannot compile with broken_for_a_test for cpu here (")
    assert "No working C++ compiler" in said
    assert "\n" not in said
    assert said.endswith("or take compile=false.")
    assert pipeline.backbone._compiled_call_impl is None


def test_a_detector_alone_is_not_compiled() -> None:
    with pytest.raises(ConfigError, match=r"Detection cannot be compiled\. Take compile=false"):
        Detection.compile_networks(Detection.__new__(Detection), "eager")
