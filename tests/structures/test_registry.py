"""What registers itself: in modules of the package, in plugins, and never two under one name."""

import logging
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlcpose.structures.errors import ConfigError
from dlcpose.structures.registry import Registry, modules_in


def made_up_plugin(folder: Path, name: str, code: str, group: str) -> None:
    """A module with the metadata that installing it would leave."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}\n")


def test_parts_register_themselves_once() -> None:
    registry: Registry[type] = Registry("dlcpose.nothing", ())
    registry.register("int")(int)
    registry.register("int")(int)
    assert dict(registry.load()) == {"int": int}
    with pytest.raises(ConfigError, match="int"):
        registry.register("int")(str)


def test_plugins_register_theirs_and_a_broken_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    group = "dlcpose.made_up_parts"
    made_up_plugin(tmp_path, "made_up_good", "import made_up_host\nmade_up_host.registry.register('x')(len)", group)
    made_up_plugin(tmp_path, "made_up_broken", "raise RuntimeError('no')", group)
    registry: Registry[object] = Registry(group, ())
    monkeypatch.setitem(sys.modules, "made_up_host", SimpleNamespace(registry=registry))
    assert len(metadata.entry_points(group=group)) == 2
    with caplog.at_level(logging.WARNING):
        assert dict(registry.load()) == {"x": len}
    assert "made_up_broken" in caplog.text


def test_the_modules_of_a_package_are_known_without_importing_them() -> None:
    assert "dlcpose.cli.app" in modules_in("dlcpose.cli")
