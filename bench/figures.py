"""What a benchmark gives: a figure with its goal, as a row of the table and as JSON."""

from typing import Final, Literal

from msgspec import Struct, field

# Enough for any figure here; more digits than these are noise.
_DIGITS: Final = 4


class Figure(Struct, frozen=True, kw_only=True):
    """One measured value: the median of several repeats, and the best of them.

    `goal` and `floor` are to be reached (`better` is "more") or kept under ("less"); None where
    there is none. `detail` says what stands behind the value. `value` is None where the figure
    was not measured, and `skipped` says why.
    """

    name: str
    unit: str
    better: Literal["more", "less"]
    value: float | None = None
    best: float | None = None
    repeats: int = 0
    goal: float | None = None
    floor: float | None = None
    detail: dict[str, float | str] = field(default_factory=dict)
    skipped: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value reaches the goal; None without a value or a goal."""
        return self._reaches(self.goal)

    @property
    def floor_met(self) -> bool | None:
        """Whether the value reaches the floor; None without a value or a floor."""
        return self._reaches(self.floor)

    def _reaches(self, bound: float | None) -> bool | None:
        if self.value is None or bound is None:
            return None
        return self.value >= bound if self.better == "more" else self.value <= bound

    def as_json(self) -> dict[str, object]:
        """Return the figure as it stands in the JSON object, without its name."""
        return {
            "value": _round(self.value),
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "floor": self.floor,
            "floor_met": self.floor_met,
            "better": self.better,
            "best": _round(self.best),
            "repeats": self.repeats,
            "detail": {name: _round(each) for name, each in self.detail.items()},
            "skipped": self.skipped or None,
        }


HEADER: Final = (
    f"{'figure':<22}{'median':>10}{'best':>10}  {'unit':<20}{'goal':>9}{'floor':>9}  met"
)


def row(figure: Figure) -> str:
    """Return the figure as lines of the table: the row, and below it what stands behind it."""
    if figure.skipped:
        return f"{figure.name:<22}skipped: {figure.skipped}"
    sign = ">=" if figure.better == "more" else "<="
    goal, floor = (
        f"{sign}{_short(bound)}" if bound is not None else "-"
        for bound in (figure.goal, figure.floor)
    )
    met = {True: "yes", False: "no", None: "-"}[figure.met]
    if figure.met is False and figure.floor_met is not None:
        met = "no, floor yes" if figure.floor_met else "no, floor no"
    line = (
        f"{figure.name:<22}{_short(figure.value):>10}{_short(figure.best):>10}  "
        f"{figure.unit:<20}{goal:>9}{floor:>9}  {met}"
    )
    detail = ", ".join(f"{name} {_short(each)}" for name, each in figure.detail.items())
    return f"{line}\n    {detail}" if detail else line


def _round(value: float | str | None) -> float | str | None:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _short(value: float | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
