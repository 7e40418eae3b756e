"""The live view of the demonstration: one frame that fits on a terminal of 80 by 24."""

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Self, TextIO

from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from holdfast.domain.order import Order
from holdfast.domain.values import ZERO, plain, sub
from holdfast.domain.wish import Stage, Wish
from holdfast.trading.demo_follow import News, Tone, described
from holdfast.trading.demo_plan import INSTRUMENT, SYMBOL
from holdfast.trading.demo_run import Demo

WIDTH_MAX: Final = 100
WIDTH_MIN: Final = 72
HEIGHT_MAX: Final = 30
HEIGHT_MIN: Final = 20
FRAMES_APART_S: Final = 0.1
# Lines of a frame that are there whatever happens: border, head, rules, titles of the columns.
_FIXED_LINES: Final = 9

_TONES: Final = {
    Tone.PLAIN: "",
    Tone.STEP: "bold cyan",
    Tone.KILL: "bold red",
    Tone.GOOD: "green",
    Tone.DOUBT: "yellow",
    Tone.BAD: "bold red",
}
_STAGES: Final = {
    Stage.QUEUED: "queued",
    Stage.WAITING: "waits for its answer",
    Stage.DELAYED: "turned away",
    Stage.ACKNOWLEDGED: "pending there",
    Stage.UNKNOWN: "unknown",
}


def fits(stream: TextIO) -> bool:
    """Tell whether a frame has room on the terminal."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return False
    return size.columns >= WIDTH_MIN and size.lines >= HEIGHT_MIN


class View:
    """Draws a running demonstration until it is left, then takes the frame away."""

    def __init__(self, demo: Demo, recent: Sequence[tuple[float, News]], stream: TextIO) -> None:
        """Show `demo` and the news in `recent`, the newest last."""
        self._demo, self._recent = demo, recent
        self._console = Console(file=stream)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._live.start()
        self._drawing = asyncio.create_task(self._draw(), name="view")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._drawing is not None
        self._drawing.cancel()
        (ended,) = await asyncio.gather(self._drawing, return_exceptions=True)
        self._live.stop()
        if isinstance(ended, Exception):
            raise ended

    async def _draw(self) -> None:
        while True:
            size = self._console.size
            shown = frame(self._demo, self._recent, width=size.width, height=size.height)
            self._live.update(shown, refresh=True)
            await asyncio.sleep(FRAMES_APART_S)


def frame(
    demo: Demo, recent: Sequence[tuple[float, News]], *, width: int, height: int
) -> RenderableType:
    """Return one frame, at most `width` by `height` - 1, so that the terminal does not scroll."""
    room = min(height - 1, HEIGHT_MAX) - _FIXED_LINES
    rows = room // 2
    parts = Group(
        _head(demo),
        _market(demo),
        _books(demo),
        Rule(style="dim"),
        _columns(demo, rows),
        Rule(style="dim"),
        *_news(recent, room - rows),
    )
    return Panel(
        parts,
        title=f"[b]holdfast demo[/b], seed {demo.plan.seed}",
        title_align="left",
        box=ROUNDED,
        border_style="red" if demo.phase == "killed" else "dim",
        padding=(0, 1),
        width=min(width, WIDTH_MAX),
    )


def _line(left: Text, right: Text) -> Table:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    line.add_column(no_wrap=True, justify="right")
    line.add_row(left, right)
    return line


def _head(demo: Demo) -> Table:
    dead = demo.phase == "killed"
    style = "bold red" if dead else "bold cyan"
    text = "killed: nobody is there, and the market goes on" if dead else demo.phase
    who = f"process {demo.pid}" if demo.pid else "no process"
    return _line(Text(text, style), Text(f"{who}  {demo.seconds:5.1f} s", "dim"))


def _market(demo: Demo) -> Table:
    top = demo.venue.top()
    text = Text.assemble(
        ("market ", "dim"),
        f"{SYMBOL}  ",
        (f"{_shown(top.bid)} x {plain(top.bid_quantity)}", "green"),
        "  ",
        (f"{_shown(top.ask)} x {plain(top.ask_quantity)}", "red"),
    )
    return _line(text, Text.assemble(("last ", "dim"), _shown(top.last)))


def _books(demo: Demo) -> Table:
    follower = demo.follower
    position = follower.desk.positions.get(SYMBOL)
    held = cash = ZERO
    if position is not None:
        held = position.quantity
        cash = sub(position.cash(INSTRUMENT), position.fees.get(INSTRUMENT.currency, ZERO))
    tally = follower.tally
    counts = (
        ("orders", follower.desk.next_number - 1),
        ("fills", tally["fills"]),
        ("unknown", tally["unknown"]),
        ("resent", tally["resent"]),
    )
    text = Text()
    for name, count in counts:
        text.append(f"{name} ", "dim").append(f"{count}  ")
    return _line(
        text, Text.assemble(("position ", "dim"), f"{held}  ", ("cash ", "dim"), f"{cash:,.2f}")
    )


def _columns(demo: Demo, rows: int) -> Table:
    state = demo.follower.desk.state
    orders = list(state.active.values())
    wishes = [(order, wish) for order in orders for wish in order.wishes]
    columns = Table.grid(expand=True, padding=(0, 1))
    for _ in range(2):
        columns.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns.add_row(
        Text(f"at work: {len(orders)}", "bold"), Text(f"not answered: {len(wishes)}", "bold")
    )
    left = _clipped([_order(order) for order in orders], rows)
    right = _clipped([_wish(order, wish) for order, wish in wishes], rows)
    for one, other in zip(left, right, strict=True):
        columns.add_row(one, other)
    return columns


def _order(order: Order) -> Text:
    filled = f" {plain(order.filled_quantity)} filled" if order.filled_quantity else ""
    style = "dim" if not order.is_working else ""
    return Text(f"{order.client_order_id:<9} {described(order)}{filled}", style)


def _wish(order: Order, wish: Wish) -> Text:
    style = "bold yellow" if wish.stage is Stage.UNKNOWN else ""
    return Text(f"{order.client_order_id:<9} {wish.kind} {_STAGES[wish.stage]}", style)


def _clipped(lines: Iterable[Text], rows: int) -> Iterator[Text]:
    """Return exactly so many lines: the newest of them, or empty ones below."""
    newest = list(lines)[-rows:]
    yield from newest
    yield from [Text("")] * (rows - len(newest))


def _news(recent: Sequence[tuple[float, News]], rows: int) -> Iterator[Text]:
    lines = [
        Text(f"{seconds:5.1f} s  {news.text}", _TONES[news.tone], no_wrap=True, overflow="ellipsis")
        for seconds, news in recent[-rows:]
    ]
    yield from _clipped(lines, rows)


def _shown(price: Decimal | None) -> str:
    return "-" if price is None else str(price)
