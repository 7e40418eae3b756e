"""The frame of the command line: reads the arguments, runs one command, turns errors into lines.

Rule 1: standard output holds what was asked for and nothing else; all that is said about it, and
progress, goes to standard error.
Rule 2: 0 is success, 1 a finding of the command's own, 2 input that cannot be used. An error is
one line that says what to do; a traceback appears with `--debug` alone.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

from cyclopts import App, CycloptsError, Parameter

from holdfast import __version__
from holdfast.cli.demo import demo
from holdfast.cli.doctor import doctor
from holdfast.cli.groups import (
    bracket,
    cancel_position,
    close,
    close_group,
    group,
    groups,
    oco,
    protect,
)
from holdfast.cli.health import health
from holdfast.cli.orders import order, orders, positions
from holdfast.cli.output import complain
from holdfast.cli.replay import replay
from holdfast.cli.run import run as run_teams
from holdfast.cli.statistics import statistics
from holdfast.cli.steer import cancel, cancel_all, kill, release, resolve, submit
from holdfast.cli.verify import verify
from holdfast.errors import HoldfastError
from holdfast.tuning import tune_interpreter

# One line per command. Their modules import what is costly only when they run.
COMMANDS: Final[dict[str, Callable[..., int]]] = {
    "bracket": bracket,
    "cancel": cancel,
    "cancel-all": cancel_all,
    "cancel-position": cancel_position,
    "close": close,
    "close-group": close_group,
    "demo": demo,
    "doctor": doctor,
    "group": group,
    "groups": groups,
    "health": health,
    "kill": kill,
    "oco": oco,
    "order": order,
    "orders": orders,
    "positions": positions,
    "protect": protect,
    "release": release,
    "replay": replay,
    "resolve": resolve,
    "run": run_teams,
    "statistics": statistics,
    "submit": submit,
    "verify": verify,
}

BAD_INPUT: Final = 2
DEFECT: Final = 70  # EX_SOFTWARE of sysexits.h
IO_ERROR: Final = 74  # EX_IOERR
BROKEN_PIPE: Final = 141  # what a shell reports of a program that SIGPIPE ended
SIGNALLED: Final = 128  # a shell adds the signal's number


def app() -> App:
    """Return the command line with all its commands."""
    frame = App(
        name="holdfast",
        help="An order manager: every order reaches the broker exactly once.",
        version=__version__,
        help_format="markdown",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=(), show_default=False),
    )
    for name, command in COMMANDS.items():
        frame.command(command, name=name)
    return frame


def main() -> None:
    """Run the command that the program was started with, and exit with its status."""
    tune_interpreter()  # a command has its process to itself
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; nothing is raised."""
    debug = "--debug" in arguments
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(name)s: %(message)s")
    try:
        return _call(arguments)
    except CycloptsError as error:
        command = next((each for each in arguments if each in COMMANDS), "")
        usage = f"holdfast {command} --help".replace("  ", " ")
        return _failed(error, f"{str(error).rstrip('.')} (see `{usage}`)", BAD_INPUT, debug=debug)
    except HoldfastError as error:
        return _failed(error, str(error), BAD_INPUT, debug=debug)
    except KeyboardInterrupt as error:
        number = getattr(error, "number", int(signal.SIGINT))
        text = "stopped before the end; the same command begins again, or goes on from its journal"
        return _failed(error, text, SIGNALLED + number, debug=debug)
    except BrokenPipeError:
        _drop_output()  # whoever read it went away, which is no error
        return BROKEN_PIPE
    except OSError as error:
        _drop_output()
        return _failed(error, f"the system refused: {error}", IO_ERROR, debug=debug)
    except Exception as error:  # noqa: BLE001 - a person is told, whatever it is
        text = f"this is a defect of Holdfast ({type(error).__name__}: {error}); please report it"
        return _failed(error, f"{text} with what --debug shows", DEFECT, debug=debug)


def _call(arguments: Sequence[str]) -> int:
    status = app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    sys.stdout.flush()
    return status if isinstance(status, int) else 0


def _failed(error: BaseException, text: str, status: int, *, debug: bool) -> int:
    if debug:
        logging.getLogger("holdfast").debug("%s", text, exc_info=error)
    complain(text)
    return status


def _drop_output() -> None:
    """Let what is still buffered go nowhere, or Python would try to write it on its way out."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - kept to the end


if __name__ == "__main__":
    main()
