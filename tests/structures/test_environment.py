import pytest

import dlcpose
from dlcpose.structures.environment import COUNTS, check_environment
from dlcpose.structures.errors import ConfigError


@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5", "²"])
def test_a_count_that_is_none_is_told_before_a_library_reads_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_environment()
    for name in COUNTS:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ConfigError, match=f"^{name}="):
                check_environment()
            with pytest.raises(dlcpose.DlcposeError):
                _ = dlcpose.load
