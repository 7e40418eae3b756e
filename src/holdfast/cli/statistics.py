"""`holdfast statistics`: what was traded, and how long it was unprotected."""

from decimal import Decimal
from typing import Any, Final

from holdfast.cli.output import NOTHING_SAID, Common, complain
from holdfast.cli.owner import DONE, Where, looked_up, show

# What the tables show; `--json` has all.
TRADED: Final = (
    "desk", "strategy", "symbol", "orders", "working", "filled", "rejected", "failed", "canceled",
    "expired", "fill_rate", "executions", "volume", "value", "currency", "fees",
    "largest_quantity", "largest_value",
)  # fmt: skip
PROTECTED: Final = (
    "desk", "group", "contingency", "symbol", "strategy", "phase", "owed", "covered",
    "unprotected_ms", "longest_unprotected_ms",
)  # fmt: skip
_PERCENT: Final = Decimal("0.1")


def statistics(
    *,
    where: Where,
    symbol: str = "",
    strategy: str | None = None,
    limit: int = 100,
    common: Common = NOTHING_SAID,
) -> int:
    """Tell what the orders of each strategy and symbol came to, over a desk's whole life.

    Below that stands, for each group, how long something that it held was not covered. The process
    that owns the journal is asked; where there is none, the journal is read. Exit status: 0, also
    where nothing was traded.

    Parameters
    ----------
    symbol: str
        Only what was traded in this symbol.
    strategy: str
        Only what this strategy traded.
    limit: int
        At most so many strategies and symbols, and so many groups, of each desk.
    """
    params = {"symbol": symbol, "strategy": strategy, "limit": limit}
    results, live = looked_up(where, "trading-statistics", params, {"limit": "--limit"})
    if common.json:
        show(results, json=True, live=live)
        return DONE
    show(
        {desk: [_in_words(row) for row in _traded(found)] for desk, found in results.items()},
        json=False,
        live=live,
        columns=TRADED,
    )
    if any(found["groups"] for found in results.values()):
        print()
        groups = {desk: found["groups"] for desk, found in results.items()}
        show(groups, json=False, columns=PROTECTED)
    for desk, found in results.items():
        if found["left_out"]:
            complain(
                f"{found['left_out']} more of desk {desk} are in its sum alone; name a --strategy "
                "or a --symbol, or give a higher --limit"
            )
    return DONE


def _traded(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a desk, and their sum where there is more than one."""
    tallies = found["tallies"]
    return [*tallies, found["total"]] if len(tallies) + found["left_out"] > 1 else tallies


def _in_words(row: dict[str, Any]) -> dict[str, Any]:
    """Return what stands in the table: a column in which all is zero says nothing."""
    fees = {currency: fee for currency, fee in row["fees"].items() if Decimal(fee)}
    rate = (Decimal(row["fill_rate"]) * 100).quantize(_PERCENT)
    return {
        **{name: value or "" for name, value in row.items()},
        "fees": ", ".join(f"{fee} {currency}" for currency, fee in fees.items()),
        "fill_rate": f"{rate} %",
    }
