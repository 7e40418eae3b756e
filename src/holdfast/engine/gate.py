"""The gate between a link's lanes and its broker: lets calls begin as the rate budget has it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from holdfast.clock import NS_PER_MS, NS_PER_S
from holdfast.engine.budget import PAUSE_MAX_S, Rank, RateBudget, RateRules
from holdfast.engine.lanes import Lane

_MS_PER_S: Final = NS_PER_S // NS_PER_MS


class Gate:
    """Asked by the lanes before each call; wakes the lane whose turn it is when a token comes.

    Without a rate there is no budget: then all may begin but for a pause that the broker asked for.
    """

    def __init__(self, rules: RateRules) -> None:
        self.budget: RateBudget | None = None
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._lanes: Sequence[Lane[Any]] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0  # without a budget, which keeps its own
        self._delayed = dict.fromkeys(Rank, 0)
        self._longest_s = dict.fromkeys(Rank, 0.0)
        if rules.requests_per_second is not None:
            now = self._loop.time()
            self.budget = RateBudget(rules.requests_per_second, rules.burst, now)

    def __str__(self) -> str:
        """Say what the rate is, for people."""
        rules = self._rules
        if rules.requests_per_second is None:
            return "no rate limit"
        return f"at most {rules.requests_per_second} requests a second, burst {rules.burst}"

    def serve(self, lanes: Sequence[Lane[Any]]) -> None:
        """Name the lanes, in the order of their ranks."""
        self._lanes = lanes

    def may_begin(self, rank: Rank) -> bool:
        """Tell whether the next call of that rank may begin now; its token is spent then."""
        if self.budget is None:
            return rank < Rank.ENTRY or self.is_open
        now = self._loop.time()
        since = self._lanes[rank].since
        begins = self.budget.take(rank, self._lanes, now)
        if begins and now > since:
            self._delayed[rank] += 1
            self._longest_s[rank] = max(self._longest_s[rank], now - since)
        self._arm(now)
        return begins

    @property
    def is_open(self) -> bool:
        """Tell whether any call may begin at once, without a token."""
        if self.budget is not None:
            return False
        return not self._paused_until or self._loop.time() >= self._paused_until

    def spend(self) -> None:
        """Take a token for a call that did not ask."""
        if self.budget is not None:
            self.budget.spend(self._loop.time())

    def pause(self, for_ms: int) -> None:
        """Hold back entries and questions, as the broker asked for."""
        now, for_s = self._loop.time(), for_ms / _MS_PER_S
        if for_s <= 0:
            return
        if self.budget is not None:
            self.budget.pause(now, for_s)
            return
        self._paused_until = max(self._paused_until, now + min(for_s, PAUSE_MAX_S))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._paused_until, self._reopen)

    def look(self) -> None:
        """See whose turn it is, after a lane turned out to have nothing to send."""
        if self.budget is not None and self._timer is None:
            self._wake()

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def statistics(self) -> dict[str, int]:
        """Return what is left to spend (-1 without a rate), the pause, and the waits by lane."""
        budget, now = self.budget, self._loop.time()
        if budget is None:
            left_s = max(0.0, self._paused_until - now)
            paused_ms = int(left_s * _MS_PER_S)
            return {"budget_tokens": -1, "budget_taken": 0, "paused_ms": paused_ms}
        counters = {
            "budget_tokens": int(budget.tokens(now)),
            "budget_taken": budget.taken,
            "paused_ms": int(budget.paused_s(now) * _MS_PER_S),
        }
        for rank in Rank:
            counters[f"{rank.name.lower()}_delayed"] = self._delayed[rank]
            counters[f"{rank.name.lower()}_wait_ms_max"] = int(self._longest_s[rank] * _MS_PER_S)
        return counters

    def _arm(self, now: float) -> None:
        """Set the timer for when the next call may begin, unless it is set for sooner."""
        assert self.budget is not None
        rank = self.budget.next(self._lanes, now)
        if rank is not None:
            when = now + self.budget.wait_s(rank, self._lanes, now)
        elif any(lane.is_ready for lane in self._lanes):
            when = now + self.budget.paused_s(now)
        else:
            return
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._wake)

    def _reopen(self) -> None:
        self._timer, self._paused_until = None, 0.0
        for lane in self._lanes[Rank.ENTRY :]:
            lane.kick()

    def _wake(self) -> None:
        self._timer = None
        assert self.budget is not None
        now = self._loop.time()
        rank = self.budget.next(self._lanes, now)
        if rank is None:
            self._arm(now)
        else:
            self._lanes[rank].kick()
