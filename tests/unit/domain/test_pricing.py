"""Limit prices that the desk makes: exact figures, then the guards, then what is journaled."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.effects import SubmitOrder
from holdfast.domain.inputs import Replace, Submit
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Offsets, Policies, Pricing
from holdfast.domain.pricing import ceil_to, floor_to, limit_from, peg_price
from holdfast.domain.quotes import Quote
from holdfast.domain.requests import OrderRequest, Peg, PegTo, check_request
from holdfast.domain.values import Side
from holdfast.errors import IdempotencyConflict, InputError, OrderRefused
from holdfast.testing.builders import DeskDriver

TSLA = Instrument.of("TSLA")
CENTS = Offsets(offset_mode="absolute", buy_offset=D("0.04"), sell_offset=D("0.04"))
WIDER = Offsets(offset_mode="absolute", buy_offset=D("0.08"), sell_offset=D("0.08"))


def desk(pricing: Pricing | None = None, **policies: Any) -> DeskDriver:
    """A desk that trades TSLA with these offsets and no limits."""
    chosen = Policies(pricing=pricing or Pricing(), limits=Limits.none(), **policies)
    return DeskDriver(policies=chosen, instruments=[TSLA])


def placed(bench: DeskDriver, side: str, reference: str | None, **terms: Any) -> D | None:
    """The limit price of an order that is priced from a reference."""
    terms = {"limit_price": None, "symbol": "TSLA", "reference_price": reference} | terms
    return bench.submit(side, "50", **terms).terms.limit_price


def test_a_purchase_is_priced_below_its_reference_and_rounded_up() -> None:
    """250.30 less 15 basis points is 249.92455, and up to the cent 249.93 (scenario 36)."""
    bench = desk()
    assert placed(bench, "buy", "250.30") == D("249.93")
    (effect,) = [one for one in bench.effects if isinstance(one, SubmitOrder)]
    assert (effect.terms.limit_price, effect.terms.reference_price) == (D("249.93"), D("250.30"))


def test_a_sale_is_priced_above_its_reference_by_its_strategys_offset() -> None:
    """252.10 and 0.04 is 252.14, with the strategy's own 0.08 it is 252.18 (scenario 37)."""
    bench = desk(Pricing(offsets=CENTS, strategies={"momentum": WIDER}))
    assert placed(bench, "sell", "252.10") == D("252.14")
    assert placed(bench, "sell", "252.10", strategy="momentum") == D("252.18")


def test_a_strategy_without_offsets_of_its_own_has_the_desks() -> None:
    """What is not overridden falls back to the desk's offsets (scenario 42)."""
    bench = desk(Pricing(offsets=CENTS, strategies={"momentum": WIDER}))
    assert placed(bench, "sell", "252.10", strategy="other") == D("252.14")


def test_a_sale_in_basis_points_is_rounded_up_as_well() -> None:
    """100.01 and 10 basis points is 100.11001, and up to the cent 100.12 (scenario 37)."""
    assert limit_from(D("100.01"), Side.SELL, Offsets(), TSLA) == D("100.12")


@pytest.mark.parametrize(
    ("price", "tick", "below", "above"),
    [
        ("20052.17", "0.25", "20052.00", "20052.25"),
        ("20052.25", "0.25", "20052.25", "20052.25"),
        ("-0.3", "0.25", "-0.5", "-0.25"),
        ("0", "0.01", "0", "0"),
    ],
)
def test_prices_are_brought_to_the_tick(price: str, tick: str, below: str, above: str) -> None:
    """The neighbours on the grid are exact, below zero too; what is on it stays (scenario 60)."""
    assert floor_to(D(price), D(tick)) == D(below)
    assert ceil_to(D(price), D(tick)) == D(above)


def test_a_price_beyond_the_slippage_guard_is_refused() -> None:
    """An offset of 5 % against a guard of 0.5 % is refused, and nothing is sent (scenario 38)."""
    bench = desk(Pricing(offsets=Offsets(buy_offset=D(500))))
    with pytest.raises(OrderRefused, match="slippage") as refused:
        placed(bench, "buy", "250.30")
    assert refused.value.code == "SLIPPAGE"
    assert not bench.effects
    assert isinstance(bench.events[-1], e.RefusalRecorded)


@pytest.mark.parametrize(("offset", "passes"), [("0.49", True), ("0.50", True), ("0.51", False)])
def test_the_slippage_guard_is_met_exactly(offset: str, passes: bool) -> None:
    """Half a percent of 100 is 0.50: that passes, a cent more does not (scenario 38)."""
    offsets = Offsets(offset_mode="absolute", buy_offset=D(offset), sell_offset=D(offset))
    for side in ("buy", "sell"):
        bench = desk(Pricing(offsets=offsets))
        if passes:
            assert placed(bench, side, "100") is not None
            continue
        with pytest.raises(OrderRefused, match="SLIPPAGE"):
            placed(bench, side, "100")


def test_an_exit_is_not_held_up_by_the_slippage_guard() -> None:
    """A way out is priced like any sale, and no guard keeps it in (P7)."""
    bench = desk(Pricing(offsets=Offsets(sell_offset=D(500))))
    bench.opened("buy", "50", symbol="TSLA")
    bench.trade("e1", "50")
    assert placed(bench, "sell", "100", reduce_only=True) == D("105.00")


def test_an_exit_without_a_mark_is_not_held_up_by_the_slippage_guard_either() -> None:
    """Whether an order is a way out is settled before its price is judged (P7)."""
    bench = desk(Pricing(offsets=Offsets(sell_offset=D(500))))
    bench.opened("buy", "50", symbol="TSLA")
    bench.trade("e1", "50")
    assert placed(bench, "sell", "100") == D("105.00")
    with pytest.raises(OrderRefused, match="SLIPPAGE"):
        placed(bench, "sell", "100")


@pytest.mark.parametrize("reference", ["5", "10", "10.00"])
def test_a_price_that_is_not_above_zero_is_refused(reference: str) -> None:
    """5 less 10 must be positive, and 10 less 10 too (scenario 39)."""
    offsets = Offsets(offset_mode="absolute", buy_offset=D(10), max_slippage_pct=D(1000))
    with pytest.raises(InputError, match="must be positive"):
        placed(desk(Pricing(offsets=offsets)), "buy", reference)


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ({"limit_price": "250"}, "reference_price and limit_price"),
        ({"order_type": "market"}, "belongs to a limit order"),
        ({"peg": "bid"}, "peg and reference_price"),
        ({"reference_price": "0"}, "above zero"),
        ({"reference_price": None, "peg": "best"}, "peg is 'best'"),
        ({"reference_price": None, "peg": "bid", "limit_price": "250"}, "peg and limit_price"),
        ({"reference_price": None, "peg": "bid", "time_in_force": "IOC"}, "ioc cannot"),
        (
            {"reference_price": None, "peg": "bid", "quantity": None, "notional": "9"},
            "sized by quantity",
        ),
        ({"peg_offset": "1"}, "there is no peg"),
    ],
)
def test_contradictions_are_refused(terms: dict[str, Any], found: str) -> None:
    """One way to a price, and one that the order can follow (scenario 40)."""
    bench = desk()
    bench.quote("250", "250.10", symbol="TSLA")
    wanted = {"limit_price": None, "symbol": "TSLA", "reference_price": "250"} | terms
    with pytest.raises(InputError, match=found):
        bench.submit("buy", **{"quantity": "50"} | wanted)
    assert not bench.effects


def test_without_a_desk_to_price_it_a_reference_is_no_price() -> None:
    """Terms are never made with a limit price missing (scenario 40)."""
    request = OrderRequest(
        symbol="TSLA", side="buy", quantity=1, order_type="limit", reference_price="250"
    )
    with pytest.raises(InputError, match="give a limit_price"):
        check_request(request, TSLA)


@pytest.mark.parametrize(
    ("side", "peg", "offset", "price"),
    [
        ("buy", "bid", "0", "100.01"),
        ("buy", "ask", "-0.01", "100.03"),
        ("buy", "mid", "0", "100.02"),
        ("sell", "mid", "0", "100.03"),
        ("sell", "bid", "0.005", "100.02"),
    ],
)
def test_a_pegged_order_starts_at_its_price(side: str, peg: str, offset: str, price: str) -> None:
    """Bid, ask or mid plus the offset; a purchase down to the tick, a sale up."""
    bench = desk()
    bench.quote("100.01", "100.04", symbol="TSLA")
    found = placed(bench, side, None, peg=peg, peg_offset=offset)
    assert found == D(price)
    submitted = bench.events[-1]
    assert isinstance(submitted, e.OrderSubmitted)
    assert submitted.quote is not None
    assert submitted.quote.bid == D("100.01"), "the quote that decided is journaled"


@pytest.mark.parametrize(("side", "worst"), [("buy", "100.50"), ("sell", "99.50")])
def test_a_pegged_order_is_never_priced_past_its_guard(side: str, worst: str) -> None:
    """The guard is half a percent from the mid at the start, whatever the offset asks for."""
    bench = desk()
    bench.quote("99.99", "100.01", symbol="TSLA")
    offset = "5" if side == "buy" else "-5"
    assert placed(bench, side, None, peg="mid", peg_offset=offset) == D(worst)
    peg = bench.order().terms.peg
    assert peg == Peg(to=PegTo.MID, offset=D(offset), worst=D(worst))
    far = Quote(symbol="TSLA", bid=D(120), ask=D(121))
    if side == "buy":
        assert peg_price(peg, Side.BUY, far, TSLA) == D(worst)


NONSENSE: list[dict[str, Any]] = [
    {"strategy": "\ud800"},
    {"strategy": ["x"]},
    {"strategy": "s" * 1_000_000},
    {"quantity": "9" * 1_000_000},
    {"quantity": "\ud800"},
    {"quantity": "abc"},
    {"post_only": 1},
    {"reduce_only": "no"},
    {"extended_hours": None},
    {"force": "yes"},
]


@pytest.mark.parametrize("terms", NONSENSE)
@pytest.mark.parametrize("priced", [{"peg": "mid"}, {"reference_price": "0.01"}, {}])
def test_nonsense_is_refused_before_anything_is_priced_or_journaled(
    terms: dict[str, Any], priced: dict[str, Any]
) -> None:
    """Without a quote a peg is refused, and that is written down: only of what can be written."""
    bench = desk()
    wanted = {"symbol": "TSLA", "side": "buy", "quantity": "1", "order_type": "limit"}
    wanted |= priced or {"limit_price": "100"}
    decision = bench.step(Submit(OrderRequest(**(wanted | terms))))
    assert isinstance(decision.error, InputError)
    assert next(iter(terms)) in str(decision.error)
    assert not decision.events


def test_a_peg_without_a_fresh_quote_is_refused() -> None:
    """No quote, an old one, or one without the side that is followed: nothing to follow."""
    bench = desk(quote_age_max_ms=2_000)
    peg = {"peg": "bid"}
    with pytest.raises(OrderRefused, match="NO_QUOTE"):
        placed(bench, "buy", None, **peg)
    bench.quote(None, "100.04", symbol="TSLA")
    with pytest.raises(OrderRefused, match="NO_QUOTE"):
        placed(bench, "buy", None, **peg)
    bench.quote("100.01", "100.04", symbol="TSLA")
    bench.advance(2_000)
    with pytest.raises(OrderRefused, match="NO_QUOTE") as refused:
        placed(bench, "buy", None, **peg)
    assert refused.value.code == "NO_QUOTE"


def test_a_repeat_of_a_pegged_order_is_the_first_one_wherever_the_quote_went() -> None:
    """The same id means the same order, though its price would be another now (scenario 35)."""
    bench = desk()
    bench.quote("100.01", "100.04", symbol="TSLA")
    wanted: dict[str, Any] = {"peg": "bid", "peg_offset": "0.01", "client_order_id": "mine"}
    first = placed(bench, "buy", None, **wanted)
    bench.quote("101.01", "101.04", symbol="TSLA")
    assert placed(bench, "buy", None, **wanted) == first
    bench.advance(60_000)
    assert placed(bench, "buy", None, **wanted) == first
    assert bench.desk.next_number == 2
    with pytest.raises(IdempotencyConflict, match="peg"):
        placed(bench, "buy", None, **wanted | {"peg_offset": "0.02"})
    with pytest.raises(IdempotencyConflict, match="peg"):
        bench.submit("buy", "50", symbol="TSLA", client_order_id="mine")


def test_a_repeat_of_a_reference_is_the_first_order_under_other_offsets() -> None:
    """What a caller repeats is the reference, not the price that was made of it (scenario 35)."""
    bench = desk()
    placed(bench, "buy", "250.30", idempotency_key="k")
    other = Policies(pricing=Pricing(offsets=CENTS), limits=Limits.none())
    bench.desk.settings = DeskDriver(policies=other).settings
    assert placed(bench, "buy", "250.30", idempotency_key="k") == D("249.93")
    with pytest.raises(IdempotencyConflict, match=r"reference_price was 250\.30, is 250\.31"):
        placed(bench, "buy", "250.31", idempotency_key="k")
    with pytest.raises(IdempotencyConflict, match="reference_price"):
        bench.submit("buy", "50", symbol="TSLA", limit_price="249.93", idempotency_key="k")


def test_a_callers_price_for_a_pegged_order_is_refused() -> None:
    """It would follow its quote again with the next one; the size may change."""
    bench = desk()
    bench.quote("100.01", "100.04", symbol="TSLA")
    bench.opened("buy", "50", symbol="TSLA", limit_price=None, peg="bid")
    name = bench.order().client_order_id
    decision = bench.step(Replace(client_order_id=name, limit_price="99"))
    assert isinstance(decision.error, InputError)
    assert "follows the bid" in str(decision.error)
    assert bench.step(Replace(client_order_id=name, quantity="40")).error is None
