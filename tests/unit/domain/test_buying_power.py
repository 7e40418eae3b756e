"""What an entry may cost is reserved, of the desk's capital and of the account's own figure."""

from decimal import Decimal as D
from typing import Any

import pytest

from holdfast.domain import events as e
from holdfast.domain.capabilities import Capabilities
from holdfast.domain.desk import Desk
from holdfast.domain.exposure import PAST_MAX
from holdfast.domain.inputs import AccountSeen, Connected
from holdfast.domain.instruments import Instrument
from holdfast.domain.policies import Limits, Policies
from holdfast.domain.reports import Accepted, Refused, Unknown
from holdfast.errors import OrderRefused
from holdfast.testing.builders import DeskDriver


def desk(*, after_orders: bool = False, **limits: Any) -> DeskDriver:
    """A desk with these limits on money, and the account's figure as one of them."""
    chosen = Limits(open_orders_max=None, price_collar_pct=None, self_cross=False, **limits)
    return DeskDriver(
        policies=Policies(limits=chosen),
        capabilities=Capabilities(account_data=True, power_after_orders=after_orders),
        instruments=[Instrument.of("X"), Instrument.of("Y", multiplier="10")],
    )


def fits(bench: DeskDriver, *args: Any, **terms: Any) -> bool:
    """Whether the purse covers an order."""
    code = ""
    try:
        bench.submit(*args, **terms)
    except OrderRefused as refused:
        code = refused.code
    assert code in {"", "BUYING_POWER"}
    return not code


def tell(bench: DeskDriver, amount: str, *, asked_ms_ago: int = 0, opened: D | None = None) -> int:
    """Let the account's figure arrive; returns how many events that made."""
    bench.now_ns += 1_000_000
    seen = AccountSeen(
        buying_power=D(amount),
        asked_ns=bench.now_ns - asked_ms_ago * 1_000_000,
        opened=bench.desk.guard.opened if opened is None else opened,
    )
    return len(bench.step(seen, after_ms=0).events)


PURSES = ["capital", "account"]


def purse(kind: str, amount: str, **limits: Any) -> DeskDriver:
    """A desk that may spend so much, by its own capital or by the account's figure."""
    if kind == "capital":
        return desk(capital=D(amount), **limits)
    bench = desk(**limits)
    tell(bench, amount)
    return bench


@pytest.mark.parametrize("kind", PURSES)
def test_two_open_purchases_that_exceed_the_cash(kind: str) -> None:
    """The first reserves its part, the second is refused, a smaller one passes (scenario 59)."""
    bench = purse(kind, "1500")
    assert fits(bench, quantity="10")
    assert not fits(bench, quantity="6")
    assert fits(bench, quantity="5")
    assert not fits(bench, quantity="1", limit_price="0.01")


@pytest.mark.parametrize("kind", PURSES)
def test_unknown_orders_reserve_and_ended_ones_do_not(kind: str) -> None:
    """A timeout frees nothing; a refusal frees all (scenario 59)."""
    bench = purse(kind, "1000")
    bench.submit()
    bench.answer(Unknown(text="timeout"))
    assert not fits(bench, quantity="1")
    bench.look(bench.snapshot())
    assert not fits(bench, quantity="1")
    bench.say("canceled")
    assert fits(bench, quantity="10")


@pytest.mark.parametrize("kind", PURSES)
def test_what_was_bought_is_spent(kind: str) -> None:
    """A fill moves its cost from what is reserved to what is held; nothing becomes free."""
    bench = purse(kind, "1500")
    bench.opened()
    bench.trade("e1", "10", "100")
    assert not fits(bench, quantity="6")
    assert fits(bench, quantity="5")


@pytest.mark.parametrize("kind", PURSES)
def test_a_margin_rate_reserves_a_share_and_a_multiplier_a_multiple(kind: str) -> None:
    """One Y at 100 is worth 1000; at a rate of a tenth it takes 100."""
    bench = purse(kind, "300", margin_rate=D("0.1"))
    assert fits(bench, quantity="1", symbol="Y")
    assert fits(bench, quantity="1", symbol="Y")
    assert not fits(bench, quantity="11")
    assert fits(bench, quantity="10")


@pytest.mark.parametrize("kind", PURSES)
def test_a_short_sale_reserves_like_a_purchase_and_an_exit_nothing(kind: str) -> None:
    """Whoever sells what is not there needs the money for it (P7)."""
    bench = purse(kind, "1000")
    bench.opened("sell", "10")
    assert not fits(bench, "sell", "1")
    bench.trade("e1", "10", "100")
    assert fits(bench, "buy", "10", limit_price="500")


def test_capital_grows_with_profit_and_shrinks_with_fees() -> None:
    """Bought at 100, sold at 110 with 2 in fees: 98 more than before to spend."""
    bench = desk(capital=D(1000))
    bench.opened()
    bench.trade("e1", "10", "100", fee="1", fee_currency="USD")
    bench.opened("sell", "10", limit_price="110")
    bench.trade("e2", "10", "110", number=2, fee="1", fee_currency="USD")
    assert not fits(bench, quantity="1", limit_price="1098.01")
    assert fits(bench, quantity="1", limit_price="1098.00")


def test_a_fee_in_another_currency_takes_no_cash() -> None:
    """A fee in the base asset takes quantity, not money."""
    bench = desk(capital=D(2000))
    bench.opened()
    bench.trade("e1", "10", "100", fee="0.5", fee_currency="BTC")
    assert fits(bench, quantity="10")


def test_without_a_figure_of_the_account_nothing_is_compared() -> None:
    """A broker that tells nothing limits nothing, and neither does a figure nobody asks."""
    assert fits(desk(), quantity="1000000")
    bench = purse("account", "1", buying_power=False)
    assert fits(bench, quantity="1000000")


def test_a_figure_counts_from_when_it_was_asked_for() -> None:
    """What was opened while the question was under way is taken off the answer."""
    bench = desk()
    before = bench.desk.guard.opened
    bench.opened()
    bench.trade("e1", "10", "100")
    tell(bench, "1500", opened=before)
    assert not fits(bench, quantity="6")
    tell(bench, "1500")
    assert fits(bench, quantity="15")


def test_an_older_or_equal_figure_is_not_taken() -> None:
    """Each figure is journaled once; an answer that was overtaken is dropped."""
    bench = desk()
    assert tell(bench, "1500") == 1
    assert tell(bench, "1500") == 0
    assert tell(bench, "900", asked_ms_ago=5_000) == 0
    assert tell(bench, "900") == 1
    powers = [event.amount for event in bench.events if isinstance(event, e.BuyingPowerSet)]
    assert powers == [D(1500), D(900)]
    assert bench.refolded().guard.power == bench.desk.guard.power


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
def test_a_figure_that_is_none_is_not_taken(amount: str) -> None:
    """What cannot be compared is shown and changes nothing (trap 70)."""
    bench = desk()
    tell(bench, amount)
    assert bench.anomalies() == ["UNUSABLE_REPORT"]
    assert bench.desk.guard.power is None


def test_a_negative_figure_lets_no_entry_pass() -> None:
    """An account in debt buys nothing, and closes all the same (P7)."""
    bench = desk()
    bench.opened()
    bench.trade("e1", "10", "100")
    tell(bench, "-5")
    assert not fits(bench, quantity="1", limit_price="0.01")
    assert fits(bench, "sell", "10")


def test_a_broker_that_takes_orders_off_itself_is_not_counted_twice() -> None:
    """What it had accepted when it was asked is in its figure; what came later is not."""
    bench = desk(after_orders=True)
    bench.opened()
    tell(bench, "500")
    assert not fits(bench, quantity="6")
    assert fits(bench, quantity="3")
    assert not fits(bench, quantity="3")
    bench.say("canceled", number=2)
    bench.answer(Refused(text="no"), number=2)
    assert fits(bench, quantity="5")


def test_what_an_order_grew_by_is_not_in_the_brokers_figure() -> None:
    """Accepted at 1000 and then made larger: the rest counts until the next figure (P8)."""
    bench = desk(after_orders=True)
    bench.opened()
    tell(bench, "900")
    assert bench.replace(quantity="15").error is None
    assert not fits(bench, quantity="5")
    bench.answer(Accepted(final=True), wish=1)
    bench.desk = Desk.load(bench.desk.dump(), bench.settings)
    bench.step(Connected(Capabilities(account_data=True, power_after_orders=True)))
    assert not fits(bench, quantity="5")
    assert fits(bench, quantity="4")
    assert bench.desk.state.exposure.uncovered(bench.now_ns) == 400


def test_an_order_that_changed_often_is_known_as_it_was_or_not_at_all() -> None:
    """So many earlier terms are remembered; a figure from before them covers nothing of it."""
    bench = desk(after_orders=True)
    bench.opened(quantity="1")
    early = bench.now_ns
    for wish in range(1, PAST_MAX + 3):
        bench.replace(quantity=str(wish + 1))
        bench.answer(Accepted(final=True), wish=wish)
    late = bench.order().past[-1][0] - 1
    exposure = bench.desk.state.exposure
    assert exposure.value == 100 * (PAST_MAX + 3)
    assert exposure.uncovered(late) == 100
    assert exposure.uncovered(early) == exposure.value
    assert len(bench.order().past) == PAST_MAX


def test_an_order_that_was_on_its_way_is_not_in_the_brokers_figure() -> None:
    """Submitted, and not accepted when the question left: it counts until the next figure."""
    bench = desk(after_orders=True)
    bench.submit()
    tell(bench, "1000")
    assert not fits(bench, quantity="1")
    bench.say("new")
    assert not fits(bench, quantity="1")
    assert tell(bench, "1000") == 1, "the same amount, and it covers more"
    assert fits(bench, quantity="10")


def test_the_first_figure_a_restarted_desk_needs_is_in_its_journal() -> None:
    """Loaded or folded again, the desk refuses what it refused before (P8)."""
    bench = purse("account", "1500")
    bench.submit()
    bench.desk = type(bench.desk).load(bench.desk.dump(), bench.desk.settings)
    assert not fits(bench, quantity="6")
    assert fits(bench, quantity="5")


def test_a_refused_submit_changes_no_position_and_books_no_trade() -> None:
    """The broker's error is a failure and nothing else: no trade, nothing held (scenario 53)."""
    bench = desk(capital=D(1000))
    bench.submit()
    bench.answer(Refused(text="insufficient buying power"))
    assert bench.order().filled_quantity == 0
    assert bench.position().quantity == 0
    assert not any(isinstance(event, e.OrderFilled) for event in bench.events)
    assert fits(bench, quantity="10")
