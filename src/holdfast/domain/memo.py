"""What a desk knows only as long as it runs, and that no decision needs after a restart."""

from typing import Any

import msgspec
from msgspec import Struct


class Memo(Struct, kw_only=True):
    """Notes of the running desk, none of them part of its state.

    `reconciled` is False from a start until the first complete poll: until then no policy acts on
    age. `only_hears` keeps a desk that is a copy from acting on what it hears. `swept_ns` is when
    orders were last looked at for their age. `refused_ns` and `unrecorded` keep a flood of the same
    refusal from filling the journal; `checks` are the limits that are set
    and the functions that they ask for. `enforced_ns` is when the kill switch
    was last enforced, and `unstopped` whether it left an entry for later; `flatten_ns` is when each
    flattening wants to go on. `stayed` is the limit, by order, that last kept a pegged order from
    moving. `alerts` are a minute and how many callers raised in it, `unraised` what was too many.
    `group_ns` is when each group wants a look, `odd_ns` since when exits that the broker sizes are
    not what is due, `trailed_ns` when a stop last moved after the market.
    `strangers` are the broker orders that could not be adopted. `odd` tells of each anomaly that a
    broker may repeat when it was last recorded, and how often it came since.
    """

    reconciled: bool = True
    only_hears: bool = False
    swept_ns: int = 0
    checks: tuple[object, tuple[Any, ...]] | None = None
    refused_ns: dict[str, int] = msgspec.field(default_factory=dict)
    unrecorded: dict[str, int] = msgspec.field(default_factory=dict)
    enforced_ns: int = 0
    unstopped: bool = True
    flatten_ns: dict[str, int] = msgspec.field(default_factory=dict)
    stayed: dict[int, str] = msgspec.field(default_factory=dict)
    alerts: tuple[int, int] = (0, 0)
    unraised: int = 0
    group_ns: dict[int, int] = msgspec.field(default_factory=dict)
    odd_ns: dict[int, int] = msgspec.field(default_factory=dict)
    trailed_ns: dict[int, int] = msgspec.field(default_factory=dict)
    strangers: dict[str, None] = msgspec.field(default_factory=dict)
    odd: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
