"""What is traded: the grid of its prices and quantities, its currency and its multiplier."""

from decimal import Decimal

from msgspec import Struct

from holdfast.domain.values import (
    CONTEXT,
    ONE,
    ZERO,
    Side,
    add,
    amount,
    check_id,
    is_multiple,
    mul,
    neg,
    rounded_mul,
)
from holdfast.errors import AmountError


class Instrument(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One tradable symbol. Amounts are in instrument units and in `currency` per unit.

    `tick` and `lot` are the smallest steps of price and quantity, `multiplier` turns price times
    quantity into money, `base` is the asset that a unit is made of where a fee may be taken in it
    (a crypto pair), `session` names the trading session, empty for round the clock.
    """

    symbol: str
    tick: Decimal = Decimal("0.01")
    lot: Decimal = ONE
    minimum_notional: Decimal = ZERO
    currency: str = "USD"
    multiplier: Decimal = ONE
    base: str = ""
    session: str = ""

    @classmethod
    def of(  # noqa: PLR0913 - one argument per field, all by name
        cls,
        symbol: str,
        *,
        tick: object = "0.01",
        lot: object = "1",
        minimum_notional: object = "0",
        currency: str = "USD",
        multiplier: object = "1",
        base: str = "",
        session: str = "",
    ) -> "Instrument":
        """Build an instrument from strings or Decimals, checked.

        Raises:
            AmountError: a step or the multiplier is not a finite number above zero.
            InputError: the symbol is empty, too long, or not printable ASCII.
        """
        least = amount(minimum_notional, "minimum notional", signed=True)
        if least < 0:
            raise AmountError(f"minimum notional is {least}; it must be zero or more")
        return cls(
            symbol=check_id(symbol, "symbol"),
            tick=amount(tick, f"tick of {symbol}"),
            lot=amount(lot, f"lot of {symbol}"),
            minimum_notional=least,
            currency=currency,
            multiplier=amount(multiplier, f"multiplier of {symbol}"),
            base=base,
            session=session,
        )

    def check_price(self, price: Decimal, name: str) -> None:
        """Raise AmountError unless the price lies on the tick grid."""
        if not is_multiple(price, self.tick):
            below = mul(CONTEXT.divide_int(price, self.tick), self.tick)
            raise AmountError(
                f"{name} {price} of {self.symbol} is not a multiple of its tick {self.tick}; "
                f"the nearest are {below} and {add(below, self.tick)}"
            )

    def check_quantity(self, quantity: Decimal, name: str = "quantity") -> None:
        """Raise AmountError unless the quantity is a whole number of lots."""
        if not is_multiple(quantity, self.lot):
            raise AmountError(
                f"{name} {quantity} of {self.symbol} is not a multiple of its lot {self.lot}"
            )

    def in_lots(self, quantity: Decimal) -> Decimal:
        """Return a quantity rounded down to whole lots."""
        return mul(CONTEXT.divide_int(quantity, self.lot), self.lot)

    def check_notional(self, quantity: Decimal, price: Decimal) -> None:
        """Raise AmountError where quantity times price is below the minimum notional."""
        if not self.can_order(quantity, price):
            raise AmountError(
                f"{quantity} {self.symbol} at {price} is worth {self._worth(quantity, price)} "
                f"{self.currency}; the least that can be ordered is {self.minimum_notional}"
            )

    def can_order(self, quantity: Decimal, price: Decimal) -> bool:
        """Tell whether quantity times price comes to the minimum notional."""
        return not self.minimum_notional or self._worth(quantity, price) >= self.minimum_notional

    def _worth(self, quantity: Decimal, price: Decimal) -> Decimal:
        # A bound to compare with, not a balance: with a long multiplier it has too many digits.
        return rounded_mul(mul(quantity, price), self.multiplier)

    def money(self, quantity: Decimal, price: Decimal) -> Decimal:
        """Return the value of a quantity at a price, in `currency`."""
        return mul(mul(quantity, price), self.multiplier)


def signed(side: Side, quantity: Decimal) -> Decimal:
    """Return the quantity as a position sees it: above zero when bought, below when sold."""
    return quantity if side is Side.BUY else neg(quantity)
