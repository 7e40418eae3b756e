"""Fixtures that any test may use, and how hypothesis behaves here."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Repeatable unless asked otherwise: a merge must not fail on a draw that nobody can repeat, and a
# slow machine is no failure. `explore` is for looking further; what it finds becomes an example.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, print_blob=True
)
settings.register_profile("explore", deadline=None, database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the engine does."""
    return "asyncio"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Where the real market data and broker payloads are; the test is skipped without them."""
    return _shared("HOLDFAST_DATA", "data")


@pytest.fixture(scope="session")
def vectors_dir() -> Path:
    """Where the FIX order state vectors are; the test is skipped without them."""
    return _shared("HOLDFAST_VECTORS", "vectors")


def _shared(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"no {name} at {folder}; set {variable} to the folder that holds them")
    return folder
