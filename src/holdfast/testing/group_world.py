"""Worlds that try to break groups: people, a market and a link that do as they please.

`run` lets anything happen, then lets everything come to rest and compares the desk with the
broker's own books. What is found wrong is raised as `GroupsBrokenError`.

At rest, the broker having answered everything and nothing being lost any more, each group is
protected by working orders for just what it is to look after, or closed with no order left; the
books agree; and the desk is what its journal and its snapshot say.
"""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any, Final

from holdfast.domain import inputs
from holdfast.domain.group import EXIT, STOP, TARGET, UNDO, Cause, Group, Moment, Phase
from holdfast.domain.requests import OrderRequest
from holdfast.domain.values import ZERO, Side
from holdfast.domain.work import NS_PER_MS
from holdfast.testing.group_books import Account, due, symbol_groups
from holdfast.testing.group_link import SYMBOL, GroupLink, Seen
from holdfast.testing.model_broker import Held

STEPS: Final = 40
CALM_BEATS: Final = 30
SETTLING_ROUNDS_MAX: Final = 150
# Longer than a market that was closed is left alone.
QUIET_ROUNDS: Final = 5
POLL_MS: Final = 15_000
TRADING: Final = frozenset({EXIT, UNDO, "flat"})
_RESTING: Final = frozenset({Phase.ENTERING, Phase.PROTECTED, Phase.CLOSED})
_EXITS: Final = {Side.SELL: ("95", "110"), Side.BUY: ("105", "90")}
_NUDGES: Final = (Decimal("-0.5"), Decimal("0.25"), Decimal(1))


class GroupWorld(GroupLink):
    """What people ask of groups, on top of what the link does to it."""

    # What people ask for; a refusal changes nothing and is none of this world's business.

    def bracket(self) -> None:
        """Somebody wants an entry with its exits."""
        choice = self.random.choice
        side = choice((Side.BUY, Side.BUY, Side.SELL))
        stop, target = _EXITS[side.opposite]
        terms: dict[str, Any] = {"stop_loss_price": stop, "take_profit_price": target}
        how = choice(("both", "both", "both", "stop", "target", "trail", "stop_limit"))
        if how == "stop":
            del terms["take_profit_price"]
        elif how in {"target", "trail"}:
            del terms["stop_loss_price"]
        elif how == "stop_limit":
            terms["stop_limit_price"] = stop
        if how == "trail":
            terms["trail"] = "4"
        if choice((True, True, False)):
            terms |= {"entry_type": "limit", "entry_price": "100"}
        else:
            terms["entry_type"] = "market"
        self.step(
            inputs.PlaceBracket(
                symbol=SYMBOL,
                side=side,
                quantity=choice((1, 3, 5)),
                entry_timeout_ms=choice((None, 0, 5_000)),
                **terms,
            )
        )

    def pair(self) -> None:
        """Somebody wants two exits of which one trades."""
        side = self._closing()
        stop, target = _EXITS[side]
        quantity = self.random.choice((1, 2, 3))
        self.step(
            inputs.PlaceOco(
                symbol=SYMBOL, side=side, quantity=quantity, limit_price=target, stop_price=stop
            )
        )

    def protect(self) -> None:
        """Somebody wants a stop or a target for what is held."""
        stop, target = _EXITS[self._closing()]
        price: dict[str, Any] = self.random.choice(
            ({"stop_price": stop}, {"limit_price": target}, {"trail": "3"})
        )
        role: Any = TARGET if "limit_price" in price else STOP
        quantity = self.random.choice((None, None, 1, 2))
        self.step(inputs.Protect(symbol=SYMBOL, role=role, quantity=quantity, **price))

    def close_position(self) -> None:
        """Somebody wants what is held closed, or a part of it, now or at a price."""
        self.step(
            inputs.ClosePosition(
                symbol=SYMBOL,
                quantity=self.random.choice((None, 1, 2)),
                limit_price=self.random.choice((None, None, "100")),
                by="ann",
            )
        )

    def close_group(self) -> None:
        """Somebody wants a group closed."""
        if groups := symbol_groups(self.desk):
            number = self.random.choice(groups).group
            self.step(inputs.CloseGroup(group=number, by="ann", reason="enough"))

    def plain_order(self) -> None:
        """Somebody places an order of no group; now and then a stop."""
        side = self.random.choice(("buy", "sell"))
        if self.likely(30):
            stop = OrderRequest(
                symbol=SYMBOL,
                side=side,
                quantity=self.random.choice((1, 2, 4)),
                order_type="stop",
                stop_price="96" if side == "sell" else "104",
                force=True,  # beside the exits of groups, too
                reduce_only=True,
            )
            self.step(inputs.Submit(stop))
            return
        request = OrderRequest(
            symbol=SYMBOL,
            side=side,
            quantity=self.random.choice((1, 2, 4)),
            order_type="limit",
            limit_price=self.random.choice(("99", "101")),
            reduce_only=self.random.choice((True, False)),
        )
        self.step(inputs.Submit(request))

    def cancel(self) -> None:
        """Somebody cancels an order, whosever it is."""
        if active := list(self.desk.active()):
            name = self.random.choice(active).client_order_id
            self.step(inputs.Cancel(client_order_id=name, by="ann"))

    def replace(self) -> None:
        """Somebody wants another price or quantity for an order."""
        if not (active := list(self.desk.active())):
            return
        order, nudge = self.random.choice(active), self.random.choice(_NUDGES)
        wanted: dict[str, Any] = {}
        for name in ("limit_price", "stop_price"):
            if (price := getattr(order.terms, name)) is not None:
                wanted[name] = price + nudge
        if self.likely(30) and order.quantity is not None:
            wanted["quantity"] = order.quantity + self.random.choice((-1, 1, 2))
        if wanted:
            self.step(inputs.Replace(client_order_id=order.client_order_id, **wanted))

    def cancel_around(self) -> None:
        """Somebody cancels stops, targets or entries."""
        kinds = self.random.choice((("stop",), ("target",), ("entry",), ("stop", "target")))
        self.step(inputs.CancelPositionOrders(symbol=SYMBOL, kinds=kinds, by="ann"))

    def cancel_all(self) -> None:
        """Somebody cancels everything, mostly without what protects."""
        bare = self.likely(20)
        self.step(inputs.CancelAll(leave_unprotected=bare, by="ann"))

    def kill(self) -> None:
        """Somebody engages the kill switch, or releases it."""
        if self.desk.guard.kill is not None:
            self.step(inputs.ReleaseKillSwitch(by="ann", reason="over"))
            return
        action: Any = self.random.choice(("cancel", "cancel", "flatten"))
        self.step(inputs.EngageKillSwitch(by="ann", reason="out", action=action))

    def _closing(self) -> Side:
        """Return the side that closes what is held, now and then the other one."""
        closes = Side.SELL if self.books.position() >= 0 else Side.BUY
        return closes.opposite if self.likely(5) else closes

    # A world from its beginning to its end.

    def acts(self) -> list[Callable[[], None]]:
        """Return what may happen next, each as often as it is to come up."""
        often = [self.deliver] * 8 + [self.fill] * 4 + [self.tell] * 4
        often += [self.wait] * 3 + [self.answer_late, self.quote, self.poll]
        asked: list[Callable[[], None]] = [self.bracket] * 3
        asked += [self.pair, self.protect, self.close_position, self.close_group, self.cancel]
        asked += [self.replace, self.plain_order]
        rare = [self.cancel_around, self.cancel_all, self.kill, self.trade_elsewhere, self.bust]
        rare += [self.overfill, self.end_unasked, self.open_or_close_market, self.crash]
        if self.likely(72):
            return often
        return asked if self.likely(75) else rare

    def run(self, steps: int = STEPS) -> Seen:
        """Let anything happen, come to rest, and compare; return what was seen."""
        self.bracket()
        if self.calls and self.likely(75):
            self.carry_out(*self.calls.pop(), "done")
        for _ in range(steps):
            self.random.choice(self.acts())()
            self.check()
            self.desk.rest()
        self.come_to_rest()
        self.compare()
        return self.seen

    def run_calm(self, beats: int = CALM_BEATS) -> Seen:
        """Place brackets and let orders trade over a link without faults; compare at the end."""
        self.refuses_stops, self.pace_ms = False, 0
        for _ in range(beats):
            if self.likely(20):
                self.bracket()
            if self.likely(50):
                self.fill()
            self.beat()
            self.check()
        self.pace_ms = 1
        self.come_to_rest()
        self.compare()
        return self.seen

    def check(self) -> None:
        """What holds at any moment: no group has two exits at the market on their way."""
        for number, account in self.books.groups().items():
            group = self.desk.state.groups.get(number)
            wanted = group.slot(EXIT).exit if group is not None else None
            rests = wanted is not None and wanted.limit_price is not None
            if account.working.get(EXIT, 0) > 1 and not rests and number not in self.busted:
                raise self.broken(f"group {number} has {account.working[EXIT]} exits at work")

    def come_to_rest(self) -> None:
        """Lose nothing any more, let time pass and exits trade, until nothing changes."""
        self.is_closed, quiet = False, 0
        for _ in range(SETTLING_ROUNDS_MAX):
            self.drain()
            self.check()
            quiet = quiet + 1 if self._rests() else 0
            if quiet >= QUIET_ROUNDS:
                return
            due_ns = self.desk.next_deadline()
            later_ms = POLL_MS
            if due_ns is not None and not quiet:
                later_ms = min(max(due_ns - self.now_ns, 0) // NS_PER_MS + 1, POLL_MS)
            self.step(inputs.Tick(), later_ms=later_ms)
            self.drain()
            self.quote(Decimal(100))
            self.poll()
        phases = {g.group: (g.phase, g.cause, g.owed) for g in symbol_groups(self.desk)}
        raise self.broken(f"no rest: {phases}, flattening {self.desk.guard.flattening}")

    def drain(self) -> None:
        """Answer everything, tell everything, and let what closes a position trade."""
        while True:
            if self.calls:
                self.carry_out(*self.calls.pop(0), "done")
            elif self.answers:
                self.step(self.answers.pop(0))
            elif self.broker.words:
                self.tell_all()
            elif ways_out := [held for held in self.books.working() if self._is_way_out(held)]:
                self.trade(ways_out[0], ways_out[0].leaves)
            else:
                return

    def _is_way_out(self, held: Held) -> bool:
        order = self.desk.order(self.desk.owner_of(held.wire_id))
        return order is not None and order.role in TRADING

    def _rests(self) -> bool:
        groups = symbol_groups(self.desk)
        if self.desk.guard.flattening or self.calls:
            return False
        return all(group.phase in _RESTING for group in groups)

    def compare(self) -> None:
        """Compare the desk at rest with the broker's books."""
        groups = symbol_groups(self.desk)
        self._count(groups)
        found = self.desk.positions.get(SYMBOL)
        position = found.quantity if found is not None else ZERO
        if position != self.books.position():
            raise self.broken(f"the desk holds {position}, the broker {self.books.position()}")
        shares, accounts = due(self.books, groups), self.books.groups()
        for group in groups:
            self._compare(group, shares[group.group], accounts.get(group.group, Account()))
        for held in self.books.working():
            order = self.desk.order(self.desk.owner_of(held.wire_id))
            if order is None or not order.is_exposed:
                raise self.broken(f"{held.wire_id} works and the desk does not know")
        sides = {group.side for group in groups}
        if self.is_plain and not self.busted and len(sides) == 1:
            over = -position if Side.SELL in sides else position
            if over > 0:
                raise self.broken(f"the position is {position}, beyond flat")
        if self.loaded().dump() != self.desk.dump():
            raise self.broken("the desk is not what its snapshot says")
        if self.refolded().dump() != self.desk.dump():
            raise self.broken("the desk is not what its journal says")

    def _count(self, groups: list[Group]) -> None:
        seen = self.seen
        seen.worlds, seen.groups = 1, len(groups)
        seen.entered = sum(bool(group.entered) for group in groups)
        seen.flattened = sum(any(_failed(one) for one in group.history) for group in groups)

    def _compare(self, group: Group, share: Decimal, account: Account) -> None:
        name = f"group {group.group} ({group.contingency}, {group.phase})"
        if group.phase is Phase.CLOSED:
            if account.working:
                raise self.broken(f"{name} is closed and has {account.working} at work")
            if share and group.contingency != "close":
                self.seen.naked += 1
                raise self.broken(f"{name} is closed and holds {share}")
            return
        guard = group.guard
        if guard is None:
            if group.phase is not Phase.ENTERING:
                raise self.broken(f"{name} wants nothing and is open")
            return
        covers = account.covers.get(guard.role, ZERO)
        if covers < share:
            self.seen.naked += 1
            raise self.broken(f"{name} holds {share}, of which {covers} is covered")
        for role, amount in account.covers.items():
            if role in {STOP, TARGET} and amount > share:
                raise self.broken(f"{name} holds {share} and has {amount} at work as {role}")


def _failed(moment: Moment) -> bool:
    return moment.phase == Phase.FLATTENING and moment.cause in {Cause.TOO_LONG, Cause.REFUSED}


def world(seed: int) -> GroupWorld:
    """Return the world of a seed."""
    return GroupWorld(Random(seed))
