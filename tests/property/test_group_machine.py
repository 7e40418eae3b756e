"""A machine that looks for the shortest way to break a group, over every kind of broker."""

from random import Random

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.testing.group_world import GroupWorld

chance = st.randoms(use_true_random=False)
small = st.integers(0, 5)


class GroupMachine(RuleBasedStateMachine):
    """Each rule lets one thing happen; at the end everything comes to rest and is compared."""

    def __init__(self) -> None:
        super().__init__()
        self.world: GroupWorld | None = None

    @property
    def made(self) -> GroupWorld:
        assert self.world is not None
        return self.world

    @initialize(random=chance)
    def open(self, random: Random) -> None:
        self.world = GroupWorld(random)
        self.world.bracket()

    @rule(random=chance)
    def something_is_asked(self, random: Random) -> None:
        made = self.made
        made.random = random
        random.choice((made.bracket, made.pair, made.protect, made.plain_order))()

    @rule(random=chance)
    def something_is_closed(self, random: Random) -> None:
        made = self.made
        made.random = random
        random.choice((made.close_position, made.close_group, made.cancel, made.replace))()

    @precondition(lambda self: self.world.calls)
    @rule(random=chance)
    def deliver(self, random: Random) -> None:
        self.made.random = random
        self.made.deliver()

    @precondition(lambda self: self.world.books.working())
    @rule(random=chance)
    def fill(self, random: Random) -> None:
        self.made.random = random
        self.made.fill()

    @precondition(lambda self: self.world.broker.words)
    @rule(random=chance)
    def tell(self, random: Random) -> None:
        self.made.random = random
        self.made.tell()

    @rule(random=chance)
    def wait(self, random: Random) -> None:
        self.made.random = random
        self.made.wait()

    @rule(random=chance, pick=small)
    def something_rare(self, random: Random, pick: int) -> None:
        made = self.made
        made.random = random
        often = (made.poll, made.quote, made.answer_late)
        rare = (made.cancel_around, made.cancel_all, made.kill, made.trade_elsewhere, made.bust)
        worst = (made.end_unasked, made.open_or_close_market, made.crash, made.overfill)
        random.choice(often if pick else (*rare, *worst))()

    @invariant()
    def one_exit_at_a_time(self) -> None:
        """No group has two exits at the market on their way."""
        if self.world is not None:
            self.world.check()

    def teardown(self) -> None:
        """Let everything come to rest, then compare with the broker's books (P6)."""
        if self.world is not None:
            self.world.random = Random(0)
            self.world.come_to_rest()
            self.world.compare()


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = hypothesis_settings(max_examples=120, stateful_step_count=40)
