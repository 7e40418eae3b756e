"""What the demonstration prints and draws, and where it may."""

import io
from decimal import Decimal as D

import pytest
from rich.console import Console

from holdfast.cli import demo as command
from holdfast.cli import demo_view
from holdfast.cli.demo import can_draw, table, wrapped
from holdfast.cli.demo_view import frame
from holdfast.domain import events as e
from holdfast.domain.requests import OrderTerms
from holdfast.domain.values import OrderType, Side
from holdfast.errors import InputError
from holdfast.trading.demo_check import Row, Verdict
from holdfast.trading.demo_follow import News, Tone
from holdfast.trading.demo_plan import ACCOUNT, DESK, INSTRUMENT, SYMBOL, Plan
from holdfast.trading.demo_run import Demo, DemoError, Result

TERMINAL = {"TERM": "xterm-256color"}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property there as well, read-only
        return self._encoding

    def isatty(self) -> bool:
        return True


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every terminal have room for a frame."""
    monkeypatch.setattr(demo_view, "fits", lambda _stream: True)


@pytest.mark.usefixtures("roomy")
def test_a_terminal_that_can_is_drawn_on() -> None:
    """With colour, box characters and room, the view is live."""
    assert can_draw(Terminal(), TERMINAL)
    assert can_draw(Terminal(), {**TERMINAL, "NO_COLOR": ""})


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize(
    ("stream", "environment"),
    [
        (io.StringIO(), TERMINAL),
        (Terminal(), {**TERMINAL, "NO_COLOR": "1"}),
        (Terminal("ascii"), TERMINAL),
        (Terminal("latin-1"), TERMINAL),
        (Terminal("no-such-encoding"), TERMINAL),
        (Terminal(), {"TERM": "dumb"}),
        (Terminal(), {}),
    ],
)
def test_anything_else_gets_plain_lines(stream: io.StringIO, environment: dict[str, str]) -> None:
    """A pipe, NO_COLOR, an encoding without the characters and a dumb terminal are not drawn on."""
    assert not can_draw(stream, environment)


def test_a_stream_without_a_size_has_no_room() -> None:
    """A terminal whose size nobody knows gets lines."""
    assert not demo_view.fits(Terminal())


def test_news_is_wrapped_to_less_than_eighty_columns() -> None:
    """A long story goes on below its time."""
    lines = wrapped(12.34, " -> ".join(["demo-12 submit unknown", *["not there"] * 8]))
    assert lines[0].startswith("  12.3 s  demo-12")
    assert len(lines) > 1
    assert all(len(line) < 80 for line in lines)
    assert lines[1].startswith(" " * 10)


def test_a_seed_that_is_none_is_refused() -> None:
    """It says which seeds there are."""
    with pytest.raises(InputError, match="-1"):
        command.demo(seed=-1)


def result(*findings: str) -> Result:
    rows = (
        Row(name="orders", ours=3, venue=3),
        Row(name="cash USD", ours="-1.5", venue="-1.5" if not findings else "-2.5"),
    )
    return Result(
        plan=Plan(),
        verdict=Verdict(
            rows=rows, lost=0, duplicated=0, others=len(findings), findings=tuple(findings)
        ),
        killed=None,
        faults={"report_lost": 2},
        tally={},
        records=12,
        seconds=1.0,
    )


def test_the_table_shows_both_books_and_where_they_differ() -> None:
    """Each line is plain, short, and says whether both are the same."""
    lines = list(table(result("cash USD: -1.5 here, -2.5 at the venue")))
    assert all(line.isascii() and len(line) < 80 for line in lines)
    assert lines[1].split() == ["orders", "3", "3", "same"]
    assert lines[2].split() == ["cash", "USD", "-1.5", "-2.5", "DIFFER"]


class FakeDemo:
    """Stands for what carries it out: gives a result, or fails."""

    def __init__(self, outcome: Result | Exception) -> None:
        self.outcome = outcome

    async def run(self, _plan: Plan) -> Result:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "status", "last"),
    [
        (result(), 0, "0 lost, 0 duplicated"),
        (result("a", "b"), 1, "0 lost, 0 duplicated, 2 other differences"),
    ],
)
def test_the_last_line_is_the_verdict_and_the_exit_status_follows(
    outcome: Result,
    status: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Zero only where nothing at all differs; each difference has a line of its own."""
    fake = FakeDemo(outcome)
    monkeypatch.setattr(command.Shown, "run", fake.run)
    assert command.demo() == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == last
    assert sum(line.startswith("! ") for line in lines) == len(outcome.verdict.findings)


def test_a_demonstration_that_could_not_be_carried_out_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says why on standard error and prints no verdict."""
    fake = FakeDemo(DemoError("process 7 ended with 2: no"))
    monkeypatch.setattr(command.Shown, "run", fake.run)
    assert command.demo() == 1
    captured = capsys.readouterr()
    assert "process 7" in captured.err
    assert "lost" not in captured.out


def busy() -> tuple[Demo, list[tuple[float, News]]]:
    """A demonstration with more orders, wishes and news than a frame has room for."""
    demo = Demo(Plan(), lambda _: None)
    desk = demo.follower.desk
    desk.apply(
        e.DeskOpened(at_ns=1, desk=DESK, epoch="0123456789ab", account=ACCOUNT, currency="USD")
    )
    desk.apply(e.InstrumentDefined(at_ns=1, instrument=INSTRUMENT))
    for number in range(1, 31):
        terms = OrderTerms(
            symbol=SYMBOL,
            side=Side.SELL,
            quantity=D(12),
            order_type=OrderType.LIMIT,
            limit_price=D("100.05"),
        )
        desk.apply(
            e.OrderSubmitted(
                at_ns=2,
                number=number,
                terms=terms,
                deadline_ns=9,
                not_after_ns=9,
                client_order_id=f"demo-{number}",
            )
        )
    recent = [(1.0 * n, News("a very long line " * 9, Tone.DOUBT)) for n in range(40)]
    return demo, recent


@pytest.mark.parametrize(("width", "height"), [(80, 24), (72, 20), (80, 60), (200, 50)])
@pytest.mark.parametrize("phase", ["trading, with timeouts", "killed"])
@pytest.mark.parametrize("is_busy", [True, False])
def test_a_frame_fits_on_the_terminal(width: int, height: int, phase: str, is_busy: bool) -> None:
    """It is never wider than the terminal, and leaves its last line free so that none scrolls."""
    demo, recent = busy() if is_busy else (Demo(Plan(), lambda _: None), [])
    demo.phase = phase
    console = Console(width=width, height=height, file=io.StringIO(), legacy_windows=False)
    lines = console.render_lines(frame(demo, recent, width=width, height=height))
    assert len(lines) <= height - 1
    assert all(sum(segment.cell_length for segment in line) <= width for line in lines)


def test_a_frame_shows_what_is_at_work_and_what_is_not_answered() -> None:
    """The newest orders and requests are shown, and how many there are."""
    demo, recent = busy()
    console = Console(width=80, height=24, file=io.StringIO(), record=True, legacy_windows=False)
    console.print(frame(demo, recent, width=80, height=24))
    text = console.export_text()
    assert "at work: 30" in text
    assert "not answered: 30" in text
    assert "demo-30   sell 12 at 100.05" in text
    assert "demo-30   submit waits for its answer" in text
