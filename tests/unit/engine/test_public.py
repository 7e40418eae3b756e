"""What `import holdfast` offers."""

import subprocess
import sys

import pytest

import holdfast


def test_every_public_name_is_there() -> None:
    """Each name of `__all__` resolves, and a name that is not there is an error."""
    for name in holdfast.__all__:
        assert getattr(holdfast, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        holdfast.Nothing  # noqa: B018 - looking is the test


def test_importing_it_loads_nothing_else() -> None:
    """A command that needs little does not pay for the engine."""
    code = "import sys, holdfast; sys.exit('holdfast.wiring' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
