"""Runs a command that waits, so that it can be stopped in order from outside."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Stopped(KeyboardInterrupt):
    """The program was asked to end, by the signal `number`; what it was doing was closed."""

    number = int(signal.SIGTERM)


def run_to_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end; Ctrl-C and SIGTERM cancel it, so that it closes what it opened.

    Raises:
        Stopped: SIGTERM came.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    try:
        return asyncio.run(_stoppable(work))
    except asyncio.CancelledError:
        raise Stopped from None


async def _stoppable(work: Coroutine[Any, Any, _Result]) -> _Result:
    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # where a loop cannot watch signals, SIGTERM just ends it
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work
