"""`holdfast bracket`, `oco`, `protect`, `close`, `cancel-position`, `groups`, `close-group`, ..."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from cyclopts import Parameter

from holdfast.cli.output import NOTHING_SAID, Common, check_seconds, print_fields, print_json
from holdfast.cli.owner import DONE, NO_REASON, Where, Why, asked, begun, looked_up, person, show
from holdfast.cli.steer import ends

# What a table of groups shows; `--json` has all.
COLUMNS: Final = (
    "desk", "group", "contingency", "symbol", "side", "quantity", "phase", "entered", "exited",
    "owed", "covered", "stop", "target", "unprotected_ms", "reason",
)  # fmt: skip
# The options of parameters that are named otherwise.
BRACKET_NAMES: Final = {
    "entry_price": "--entry",
    "stop_loss_price": "--stop",
    "take_profit_price": "--target",
    "stop_limit_price": "--stop-limit",
    "trail": "--trail",
}
EXIT_NAMES: Final = {
    "stop_price": "--stop",
    "stop_limit_price": "--stop-limit",
    "target_price": "--target",
    "limit_price": "--limit",
    "trail": "--trail",
}


@Parameter(name="*")
@dataclass(frozen=True)
class Bracket:
    """The terms of a bracket beyond its symbol, side and quantity."""

    entry: str | None = None
    """The entry's limit price; at the market if not given."""
    stop: str | None = None
    """The price at which the stop goes off."""
    target: str | None = None
    """The limit price of the target."""
    stop_limit: str | None = None
    """The limit price of the stop once it went off; at the market if not given."""
    trail: str | None = None
    """In the place of --stop: how far the stop stays behind the price."""
    entry_timeout: float | None = None
    """Seconds after which the entry is cancelled, 0 for never; the desk's if not given."""
    time_in_force: str = "gtc"
    """How long the entry stands: gtc, day, ioc, fok."""
    strategy: str = ""
    """The strategy that it is counted for."""
    client_order_id: str | None = None
    """The entry's own id; the same one again never makes a second bracket."""
    wait: Literal["durable", "entered", "protected", "closed"] = "durable"
    """Return once it is on disk, has filled something, is protected, or is closed."""


@Parameter(name="*")
@dataclass(frozen=True)
class Pair:
    """The terms of a pair of exits beyond its symbol, side and quantity."""

    limit: str
    """The price at which the position is closed at a gain."""
    stop: str
    """The price at which it is closed at a loss."""
    stop_limit: str | None = None
    """The limit price of the stop once it went off; at the market if not given."""
    strategy: str = ""
    """The strategy that they are counted for."""
    idempotency_key: str | None = None
    """A key of your own; the same one again never makes a second pair."""


@Parameter(name="*")
@dataclass(frozen=True)
class Guard:
    """What protects a position, or closes it at a gain."""

    stop: str | None = None
    """The price at which the stop goes off."""
    stop_limit: str | None = None
    """The limit price of the stop once it went off; at the market if not given."""
    trail: str | None = None
    """In the place of --stop: how far the stop stays behind the price."""
    target: str | None = None
    """The limit price of a target."""
    quantity: str | None = None
    """How many units, or `all`; if not given, what it was: at first all that nothing guards."""
    strategy: str = ""
    """The strategy that it is counted for."""
    by: str = ""
    """Who does this; the user's name if not given."""


@Parameter(name="*")
@dataclass(frozen=True)
class Exit:
    """How a position is closed."""

    quantity: str | None = None
    """How many units; all of them if not given."""
    limit: str | None = None
    """The limit price of the exit; at the market if not given."""
    strategy: str = ""
    """The strategy that it is counted for."""
    idempotency_key: str | None = None
    """A key of your own; the same one again never closes twice."""
    wait: Literal["durable", "closed"] = "durable"
    """Return once it is on disk, or once it is closed."""


def bracket(
    symbol: str,
    side: Literal["buy", "sell"],
    quantity: str,
    /,
    *,
    where: Where,
    terms: Bracket = Bracket(),
    common: Common = NOTHING_SAID,
) -> int:
    """Place an entry with the stop and the target that protect what it fills, or one of them.

    If no answer comes, the message names the entry's id: repeat the command with
    --client-order-id, and there is one bracket at most. Exit status: 0 if it was taken, 2 if it was
    refused or nobody answered, 3 if it was taken and has not come in time to what --wait asks for.

    Parameters
    ----------
    symbol: str
        What to trade.
    side: str
        The side of the entry: buy or sell.
    quantity: str
        How many units.
    """
    if terms.entry_timeout is not None:
        check_seconds("--entry-timeout", terms.entry_timeout, 0)
    name = terms.client_order_id or _made_up()
    given: dict[str, Any] = {
        "symbol": symbol,
        "side": side,
        "quantity": quantity,
        "entry_price": terms.entry,
        "stop_loss_price": terms.stop,
        "take_profit_price": terms.target,
        "stop_limit_price": terms.stop_limit,
        "trail": terms.trail,
        "entry_timeout": terms.entry_timeout,
        "time_in_force": terms.time_in_force,
        "strategy": terms.strategy,
        "client_order_id": name,
        "wait": terms.wait,
    }
    again = f"The entry's id is {name}: give it to `--client-order-id` to repeat"
    return begun(where, "bracket", given, common, BRACKET_NAMES, again=again, columns=COLUMNS)


def oco(
    symbol: str,
    side: Literal["buy", "sell"],
    quantity: str,
    /,
    *,
    where: Where,
    terms: Pair,
    common: Common = NOTHING_SAID,
) -> int:
    """Place two exits for the same units of a position, of which one trades.

    Exit status: 0 if they were taken, 2 if they were refused or nobody answered.

    Parameters
    ----------
    symbol: str
        What is held.
    side: str
        The side of the exits: sell for what is long, buy for what is short.
    quantity: str
        How many units.
    """
    key = terms.idempotency_key or _made_up()
    given = {
        "symbol": symbol,
        "side": side,
        "quantity": quantity,
        "limit_price": terms.limit,
        "stop_price": terms.stop,
        "stop_limit_price": terms.stop_limit,
        "strategy": terms.strategy,
        "idempotency_key": key,
    }
    return begun(where, "oco", given, common, EXIT_NAMES, again=_by_key(key), columns=COLUMNS)


def protect(
    symbol: str, /, *, where: Where, terms: Guard = Guard(), common: Common = NOTHING_SAID
) -> int:
    """Protect a position by a stop, or let a target close it at a gain; one of them per call.

    Called again it moves what it placed. Exit status: 0 if it was done, 2 if it was refused or
    nobody answered.

    Parameters
    ----------
    symbol: str
        What is held.
    """
    given = {
        "symbol": symbol,
        "stop_price": terms.stop,
        "stop_limit_price": terms.stop_limit,
        "trail": terms.trail,
        "target_price": terms.target,
        "quantity": terms.quantity,
        "strategy": terms.strategy,
        "by": person(Why(by=terms.by))["by"],
    }
    # The desk knows the price of the one that is asked for as `limit_price`.
    names = {**EXIT_NAMES, "limit_price": "--target" if terms.target else "--stop-limit"}
    show(asked(where, "protect", given, names), json=common.json, columns=COLUMNS)
    return DONE


def close(
    symbol: str,
    /,
    *,
    where: Where,
    terms: Exit = Exit(),
    why: Why = NO_REASON,
    common: Common = NOTHING_SAID,
) -> int:
    """Close a position or a part of it; what protects it shrinks by as much.

    Exit status: 0 if it was begun, 2 if it was refused or nobody answered, 3 if it was begun and is
    not closed in time, where --wait asks for that.

    Parameters
    ----------
    symbol: str
        What is held.
    """
    key = terms.idempotency_key or _made_up()
    given = {
        "symbol": symbol,
        "quantity": terms.quantity,
        "limit_price": terms.limit,
        "strategy": terms.strategy,
        "idempotency_key": key,
        "wait": terms.wait,
        **person(why),
    }
    return begun(where, "close", given, common, EXIT_NAMES, again=_by_key(key), columns=COLUMNS)


def cancel_position(
    symbol: str,
    /,
    *,
    where: Where,
    kinds: str = "stop,target,entry",
    why: Why = NO_REASON,
    common: Common = NOTHING_SAID,
) -> int:
    """Cancel the orders around a position, its protection too, and tell how each one ended.

    Exit status: 0 if every order came to its end, 1 if not, 2 if it was refused or nobody answered.

    Parameters
    ----------
    symbol: str
        What is held.
    kinds: str
        Which orders, with commas between: stop, target, entry; all of them if not given.
    """
    named = [kind.strip() for kind in kinds.split(",")]
    given = {"symbol": symbol, "kinds": named, **person(why)}
    return ends(asked(where, "cancel-position", given), common)


def groups(
    *,
    where: Where,
    open: bool = False,  # noqa: A002 - the name of the option
    symbol: str = "",
    strategy: str | None = None,
    limit: int = 100,
    common: Common = NOTHING_SAID,
) -> int:
    """List groups of orders, the newest first: brackets, pairs, and what looks after positions.

    The process that owns the journal is asked; where there is none, the journal is read. Exit
    status: 0, also where there are none.

    Parameters
    ----------
    open: bool
        Without the closed ones.
    symbol: str
        Only groups in this symbol.
    strategy: str
        Only groups of this strategy.
    limit: int
        At most so many of each desk.
    """
    params = {"symbol": symbol, "strategy": strategy, "closed": not open, "limit": limit}
    results, live = looked_up(where, "groups", params, {"limit": "--limit"})
    show(results, json=common.json, live=live, columns=COLUMNS)
    return DONE


def group(name: str, /, *, where: Where, common: Common = NOTHING_SAID) -> int:
    """Show all that is known of one group, with its orders and its history.

    Exit status: 0 if there is such a group, 2 if not.

    Parameters
    ----------
    name: str
        The group's number, its id, or the client order id of one of its orders.
    """
    results, live = looked_up(where, "group", {"group": _named(name)})
    if common.json:
        print_json({"desks": results, "live": live})
        return DONE
    for desk, found in results.items():
        members, history = found.pop("members"), found.pop("history")
        fields = [(title.replace("_", " "), value) for title, value in found.items()]
        print_fields([("desk", desk), *((n, v) for n, v in fields if v not in (None, "", []))])
        for each in members:
            filled = f"{each['filled_quantity']} of {each['quantity']} filled"
            print(f"{each['role']} {each['client_order_id']}: {each['status']}, {filled}")
        for each in history:
            said = ", ".join(text for text in (each["reason"], each["by"]) if text)
            cause = each["cause"].replace("_", " ") or "begun"
            print(f"{each['at']} {each['phase']} ({cause}) {said}".rstrip())
    return DONE


def close_group(
    name: str,
    /,
    *,
    where: Where,
    wait: Literal["durable", "closed"] = "durable",
    why: Why = NO_REASON,
    common: Common = NOTHING_SAID,
) -> int:
    """Cancel what works of a group, and close at the market what it holds.

    Exit status: 0 if it was begun, 2 if it was refused or nobody answered, 3 if it was begun and is
    not closed in time, where --wait asks for that.

    Parameters
    ----------
    name: str
        The group's number, its id, or the client order id of one of its orders.
    wait: str
        Return once it is on disk, or once it is closed.
    """
    given = {"group": _named(name), "wait": wait, **person(why)}
    again = f"`holdfast group {name}` tells how far it is"
    return begun(where, "close-group", given, common, again=again, columns=COLUMNS)


def _by_key(key: str) -> str:
    """Say how a command is repeated that has a key."""
    return f"The key is {key}: give it to `--idempotency-key` to repeat"


def _named(name: str) -> int | str:
    """Return a group's number where that was given; the owner says what is none."""
    from holdfast.domain.values import DIGITS_MAX

    is_number = name.isascii() and name.isdecimal() and len(name) <= DIGITS_MAX
    return int(name) if is_number else name


def _made_up() -> str:
    from holdfast.clock import new_epoch

    return f"cli-{new_epoch()}"
