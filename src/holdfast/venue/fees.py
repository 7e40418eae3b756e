"""What a venue charges for a trade."""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

from msgspec import Struct

from holdfast.domain.instruments import Instrument
from holdfast.domain.values import ONE, PRECISION, ZERO, Liquidity, Side

_BASIS_POINT: Final = Decimal("0.0001")
# A venue rounds what it charges: here alone a product may lose digits.
_CHARGE: Final = Context(prec=PRECISION, rounding=ROUND_HALF_UP)


class Fees(Struct, frozen=True, kw_only=True):
    """Charges in basis points of the traded value, plus an amount per unit.

    Basis points below zero are a rebate. With `in_base` a buyer pays in the asset bought, as
    crypto venues do, and the charge is then on the quantity; `per_unit` is always in the
    instrument's currency and is not taken together with it. A charge is rounded to `decimals`.
    """

    maker_bps: Decimal = ZERO
    taker_bps: Decimal = ZERO
    per_unit: Decimal = ZERO
    in_base: bool = False
    decimals: int = 8

    def charge(
        self,
        instrument: Instrument,
        side: Side,
        quantity: Decimal,
        money: Decimal,
        liquidity: Liquidity,
    ) -> tuple[Decimal, str]:
        """Return the fee of one side of a trade and its currency; `money` is the traded value."""
        bps = self.maker_bps if liquidity is Liquidity.MAKER else self.taker_bps
        if not bps and not self.per_unit:
            return ZERO, instrument.currency
        rate = _CHARGE.multiply(bps, _BASIS_POINT)
        if self.in_base and instrument.base and side is Side.BUY:
            return self._rounded(_CHARGE.multiply(quantity, rate)), instrument.base
        traded = _CHARGE.multiply(abs(money), rate)
        fee = _CHARGE.add(traded, _CHARGE.multiply(quantity, self.per_unit))
        return self._rounded(fee), instrument.currency

    def _rounded(self, fee: Decimal) -> Decimal:
        return _CHARGE.quantize(fee, ONE.scaleb(-self.decimals))


NO_FEES: Final = Fees()
