"""`holdfast submit`, `cancel`, `cancel-all`, `kill`, `release` and `resolve`, through the owner."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from cyclopts import Parameter

from holdfast.cli.output import NOTHING_SAID, Common, complain
from holdfast.cli.owner import DONE, NO_REASON, NOT_ALL, Where, Why, asked, begun, person, show

# The options of parameters that are named otherwise.
SUBMIT_NAMES: Final = {"order_type": "--type", "not_after_ms": "--timeout"}


@Parameter(name="*")
@dataclass(frozen=True)
class Terms:
    """The terms of an order beyond its symbol, side and quantity."""

    type: Literal["market", "limit", "stop", "stop_limit", "trailing_stop"] | None = None
    """The order's type; limit where --limit-price is given, else market."""
    limit_price: str | None = None
    """The limit price."""
    stop_price: str | None = None
    """The price that sets a stop order off."""
    trail: str | None = None
    """How far a trailing stop stays behind the price."""
    time_in_force: str = "gtc"
    """How long the order stands: gtc, day, ioc, fok."""
    reduce_only: bool = False
    """Only close a position, never open one."""
    strategy: str = ""
    """The strategy that it is counted for."""
    client_order_id: str | None = None
    """The order's own id; the same one again never makes a second order."""
    wait: Literal["durable", "accepted"] = "durable"
    """Return once it is on disk, or once the broker took it."""


def submit(
    symbol: str,
    side: Literal["buy", "sell"],
    quantity: str,
    /,
    *,
    where: Where,
    terms: Terms = Terms(),
    common: Common = NOTHING_SAID,
) -> int:
    """Place an order; limits, breaker and kill switch decide as for every other.

    If no answer comes, the message names the order's id: repeat the command with
    --client-order-id, and there is one order at most. Exit status: 0 if it was taken, 2 if it was
    refused or nobody answered, 3 if --wait asks for more and that has not come in time.

    Parameters
    ----------
    symbol: str
        What to trade.
    side: str
        buy or sell.
    quantity: str
        How many units.
    """
    from holdfast.clock import new_epoch

    name = terms.client_order_id or f"cli-{new_epoch()}"
    guessed = "limit" if terms.limit_price is not None else "market"
    given: dict[str, Any] = {
        "symbol": symbol,
        "side": side,
        "quantity": quantity,
        "order_type": terms.type or guessed,
        "limit_price": terms.limit_price,
        "stop_price": terms.stop_price,
        "trail": terms.trail,
        "time_in_force": terms.time_in_force,
        "reduce_only": terms.reduce_only,
        "strategy": terms.strategy,
        "client_order_id": name,
        # Nobody waits longer for it, so it is not sent later either.
        "not_after_ms": max(1, int(where.seconds * 1_000)),
        "wait": terms.wait,
    }
    again = f"The order's id is {name}: give it to `--client-order-id` to repeat"
    return begun(where, "submit", given, common, SUBMIT_NAMES, again=again)


def cancel(
    client_order_id: str, /, *, where: Where, why: Why = NO_REASON, common: Common = NOTHING_SAID
) -> int:
    """Want an order gone; it may still fill before the broker confirms.

    Exit status: 0 if it was done, 2 if it was refused or nobody answered.

    Parameters
    ----------
    client_order_id: str
        The order's client order id, or its wire id.
    """
    show(
        asked(where, "cancel", {"client_order_id": client_order_id, **person(why)}),
        json=common.json,
    )
    return DONE


def cancel_all(
    *,
    where: Where,
    symbol: str = "",
    strategy: str | None = None,
    leave_unprotected: bool = False,
    why: Why = NO_REASON,
    common: Common = NOTHING_SAID,
) -> int:
    """Cancel all working orders of a desk, or of all desks, and tell how each one ended.

    Orders that protect a position stay. Exit status: 0 if every order came to its end, 1 if not.

    Parameters
    ----------
    symbol: str
        Only orders in this symbol.
    strategy: str
        Only orders of this strategy.
    leave_unprotected: bool
        Cancel the orders that protect positions too.
    """
    given = {
        "symbol": symbol,
        "strategy": strategy,
        "leave_unprotected": leave_unprotected,
        **person(why),
    }
    return ends(asked(where, "cancel-all", given), common)


def kill(
    *, where: Where, flatten: bool = False, why: Why = NO_REASON, common: Common = NOTHING_SAID
) -> int:
    """Engage the kill switch: no entry goes out, entries that work are cancelled.

    It stays engaged over restarts, until `holdfast release`. Where the owner does not answer, make
    the file JOURNAL.kill: it does the same. Exit status: 0 if every cancelled order came to its
    end, 1 if not.

    Parameters
    ----------
    flatten: bool
        Close every position as well.
    """
    given = {**person(why), "action": "flatten" if flatten else "cancel"}
    results = asked(where, "kill", given)
    if not common.json:
        print(f"engaged: {', '.join(results)}")
    return ends(results, common)


def release(*, where: Where, why: Why = NO_REASON, common: Common = NOTHING_SAID) -> int:
    """Release the kill switch, so that entries go out again.

    Exit status: 0 if it was done, 2 if it was refused or nobody answered.
    """
    results = asked(where, "release", person(why))
    if common.json:
        show(results, json=True)
    else:
        print(f"released: {', '.join(results)}")
    return DONE


def resolve(
    client_order_id: str,
    verdict: Literal["never_sent", "canceled", "look_again"],
    /,
    *,
    where: Where,
    why: Why = NO_REASON,
    common: Common = NOTHING_SAID,
) -> int:
    """Settle an order whose outcome nobody can tell, on your word; it is journaled.

    Exit status: 0 if it was done, 2 if it was refused or nobody answered.

    Parameters
    ----------
    client_order_id: str
        The order's client order id, or its wire id.
    verdict: str
        never_sent, canceled, or look_again to ask the broker anew.
    """
    given = {"client_order_id": client_order_id, "verdict": verdict, **person(why)}
    show(asked(where, "resolve", given), json=common.json)
    return DONE


def ends(results: dict[str, Any], common: Common) -> int:
    """Show how each order ended, and name those that did not."""
    show(results, json=common.json)
    open_still = [
        row["client_order_id"]
        for rows in results.values()
        for row in rows
        if row["outcome"] in {"pending", "failed"}
    ]
    if not open_still:
        return DONE
    complain(f"not ended yet: {', '.join(open_still)}; `holdfast orders` shows what becomes of it")
    return NOT_ALL
