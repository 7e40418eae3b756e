"""A venue with one account that trades ABC, for proofs about exits that are tied together."""

from decimal import Decimal
from typing import Any

from holdfast.domain.capabilities import Capabilities
from holdfast.domain.effects import Attached
from holdfast.domain.instruments import Instrument
from holdfast.domain.reports import Report
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side
from holdfast.venue.orders import VenueOrder
from holdfast.venue.paper import Venue

EVERYTHING: dict[str, Any] = {"native_bracket": "per_fill", "native_oco": True}


class Floor:
    """A venue with the account main, whose capabilities a test chooses."""

    def __init__(self, *, matching: bool = True, cash: Decimal | None = None, **can: Any) -> None:
        """Open the account with every capability about linked exits, but for those given."""
        self.venue = Venue()
        self.crowd = self.venue.add_listing(Instrument.of("ABC", tick=1, lot=1), matching=matching)
        self.venue.open_account("main", Capabilities(**(EVERYTHING | can)), cash=cash)
        self.reports: list[Report] = []
        self.venue.subscribe("main", self.reports.append)

    def bracket(self, quantity: int = 10, limit: int | None = 100, **legs: Any) -> Any:
        """Submit a buy with a stop at 90 and a target at 110."""
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        entry = terms("buy", quantity, kind=kind, limit=limit)
        exits = {"stop": stop(quantity), "target": target(quantity)} | legs
        return self.send("e", entry, "bracket", exits)

    def pair(self, quantity: int = 10, position: int = 10) -> Any:
        """Hold a position, and submit a pair of a target at 110 and a stop at 90 for it."""
        self.venue.endow("main", "ABC", Decimal(position))
        return self.send("target", target(quantity), "oco", {"stop": stop(quantity)})

    def send(self, wire_id: str, main: OrderTerms, link: str = "", exits: Any = None) -> Any:
        """Submit an order, with exits where there are any."""
        attached = tuple(
            Attached(number=number, role=role, wire_id=role, terms=each)
            for number, (role, each) in enumerate((exits or {}).items(), start=2)
            if each is not None
        )
        return self.venue.submit("main", wire_id, main, 0, link=link, attached=attached)

    def replace(self, wire_id: str, new: OrderTerms, again: str, **more: Any) -> Any:
        """Give the order of a wire id new terms."""
        return self.venue.replace(
            "main", wire_id=again, orig_wire_id=wire_id, terms=new, now_ns=0, **more
        )

    def cancel(self, wire_id: str) -> Any:
        """Cancel by wire id."""
        return self.venue.cancel("main", wire_ids=[wire_id], now_ns=0)

    def order(self, wire_id: str) -> VenueOrder:
        """The newest order of a wire id."""
        return self.venue.find("main", [wire_id], [])[-1]

    def state(self, *wire_ids: str) -> list[str]:
        """How the orders stand: status, filled of quantity, and the condition."""
        shown = [self.order(each).snapshot() for each in wire_ids]
        return [
            f"{one.status} {one.cumulative}/{one.order_quantity} {one.condition}".strip()
            for one in shown
        ]

    def told(self) -> list[str]:
        """What was reported since the last look: wire id, kind, quantity in force."""
        new, self.reports[:] = list(self.reports), []
        return [f"{one.wire_id} {one.kind} {one.order_quantity} {one.text}".strip() for one in new]


def terms(side: str, quantity: int, *, kind: OrderType, limit: Any = None, **more: Any) -> Any:
    """Terms of an order."""
    price = None if limit is None else Decimal(limit)
    return OrderTerms(
        symbol="ABC",
        side=Side(side),
        quantity=Decimal(quantity),
        order_type=kind,
        limit_price=price,
        **more,
    )


def stop(quantity: int, price: Decimal | int = 90, **more: Any) -> OrderTerms:
    """Terms of a sell stop."""
    asked: dict[str, Any] = {"kind": OrderType.STOP, "stop_price": Decimal(price)} | more
    wanted: OrderTerms = terms(asked.pop("side", "sell"), quantity, **asked)
    return wanted


def target(quantity: int, price: int = 110, **more: Any) -> OrderTerms:
    """Terms of a sell limit order."""
    wanted: OrderTerms = terms("sell", quantity, kind=OrderType.LIMIT, limit=price, **more)
    return wanted
