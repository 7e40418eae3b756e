"""What a desk knows only as long as it runs, and that no decision needs after a restart."""

import msgspec
from msgspec import Struct


class Memo(Struct, kw_only=True):
    """Notes of the running desk, none of them part of its state.

    `reconciled` is False from a start until the first complete poll: until then no policy acts on
    age. `swept_ns` is when orders were last looked at for their age. `refused_ns` and `unrecorded`
    keep a flood of the same refusal from filling the journal.
    """

    reconciled: bool = True
    swept_ns: int = 0
    refused_ns: dict[str, int] = msgspec.field(default_factory=dict)
    unrecorded: dict[str, int] = msgspec.field(default_factory=dict)
