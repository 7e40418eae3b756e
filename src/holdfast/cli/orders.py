"""`holdfast orders`, `order` and `positions`: what a desk has, from its owner or its journal."""

from holdfast.cli.output import NOTHING_SAID, Common, print_fields, print_json
from holdfast.cli.owner import DONE, Where, looked_up, show


def orders(
    *,
    where: Where,
    symbol: str = "",
    strategy: str | None = None,
    status: str | None = None,
    all: bool = False,  # noqa: A002 - the name of the option
    limit: int = 100,
    common: Common = NOTHING_SAID,
) -> int:
    """List the orders that may still trade, of one desk or of all.

    The process that owns the journal is asked; where there is none, the journal is read. Exit
    status: 0, also where there are none.

    Parameters
    ----------
    symbol: str
        Only orders in this symbol.
    strategy: str
        Only orders of this strategy.
    status: str
        Only orders with this status, ended ones included.
    all: bool
        Ended orders too, the newest of them first.
    limit: int
        At most so many of each desk.
    """
    params = {
        "symbol": symbol,
        "strategy": strategy,
        "status": status.lower() if status is not None else None,
        "finished": all,
        "limit": limit,
    }
    results, live = looked_up(where, "orders", params, {"limit": "--limit"})
    show(results, json=common.json, live=live)
    return DONE


def order(client_order_id: str, /, *, where: Where, common: Common = NOTHING_SAID) -> int:
    """Show all that is known of one order, with its executions.

    Exit status: 0 if there is such an order, 2 if not.

    Parameters
    ----------
    client_order_id: str
        The order's client order id, or its wire id.
    """
    results, live = looked_up(where, "order", {"client_order_id": client_order_id})
    if common.json:
        print_json({"desks": results, "live": live})
        return DONE
    for desk, found in results.items():
        executions = found.pop("executions")
        fields = [(name.replace("_", " "), value) for name, value in found.items()]
        print_fields([("desk", desk), *((n, v) for n, v in fields if v not in (None, "", []))])
        for each in executions:
            print(f"execution {each['execution_id']}: {each['quantity']} at {each['price']}")
    return DONE


def positions(*, where: Where, common: Common = NOTHING_SAID) -> int:
    """Show what each desk holds, flat positions included. Exit status: 0."""
    results, live = looked_up(where, "positions", {})
    show(results, json=common.json, live=live)
    return DONE
