"""`holdfast health`: whether a desk can be relied on, and what a person should look at."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdfast.cli.output import NOTHING_SAID, Common, print_fields
from holdfast.cli.owner import DONE, Where, looked_up, show

# A desk cannot be relied on, or holds what nothing covers.
NOT_WELL: Final = 1
_MS_PER_S: Final = 1_000


def health(*, where: Where, common: Common = NOTHING_SAID) -> int:
    """Tell whether each desk can be relied on, what it holds unprotected, and what it warned of.

    The process that owns the journal is asked; where there is none, the journal is read, and no
    desk is well. Exit status: 0 if all is well, 1 if a desk cannot be relied on or holds something
    that is not covered.
    """
    results, live = looked_up(where, "health", {})
    if common.json:
        show(results, json=True, live=live)
    else:
        for at, (desk, found) in enumerate(results.items()):
            if at:
                print()
            print_fields([("desk", desk), *_fields(**found)])
    well = all(f["health"]["is_ok"] and not f["health"]["unprotected"] for f in results.values())
    return DONE if well else NOT_WELL


def _fields(health: Mapping[str, Any], guard: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return what is to be said of a desk; what is as it should be takes no line."""
    state = "ok" if health["is_ok"] else f"not ok, {health['mode']}"
    fields = [("state", f"{state}: {health['fault']}" if health["fault"] else state)]
    fields += [("account", health["account"]), ("last record", f"{health['durable_seq']:,}")]
    fields += [("unprotected", f"group {number}") for number in health["unprotected"]]
    fields += [(name, text) for name, text in _switches(guard) if text]
    if health["last_poll_age_ms"] >= 0:
        ago = health["last_poll_age_ms"] / _MS_PER_S
        fields.append(("last poll", f"answered {ago:.1f} s ago"))
    fields += [("calls open", str(health["calls_open"]))] * bool(health["calls_open"])
    fields += [("unclaimed", text) for text in health["unclaimed"]]
    fields += [("slow callback", text) for text in health["slow_callbacks"]]
    fields += [("unreadable", text) for text in health["unreadable"]]
    counts = [(each, _counts(guard[each])) for each in ("alerts", "refusals")]
    return [*fields, *((name, text) for name, text in counts if text)]


def _switches(guard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say which switches hold entries back, and what is being closed."""
    kill = guard["kill"]
    if kill is not None:
        yield "kill switch", f"engaged by {kill['by']} ({kill['action']}): {kill['reason']}"
    if guard["breaker"] != "closed":
        left = guard["breaker_left_ms"] / _MS_PER_S
        wait = f", {left:.0f} s left" if left else ""
        yield "breaker", f"{guard['breaker'].replace('_', ' ')}{wait}: {guard['breaker_reason']}"
    yield "flattening", ", ".join(guard["flattening"])
    for text in guard["unrecorded"]:
        yield "unrecorded", text


def _counts(by_code: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in sorted(by_code.items()))
