"""`holdfast verify`: is a journal what was written?"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.cli.output import NOTHING_SAID, Common, complain, print_fields, print_json
from holdfast.clock import iso

if TYPE_CHECKING:
    from holdfast.journal.verify import VerifyReport

# So many problems are told one by one; `--json` has all that were kept.
PROBLEMS_TOLD_MAX: Final = 10

INTACT: Final = 0
DAMAGED: Final = 1


def verify(*, journal: Path, common: Common = NOTHING_SAID) -> int:
    """Check every record of a journal against the chain of hashes, and everything beside it.

    Changes nothing, and may run while a desk is at work on the journal. Exit status: 0 intact,
    1 damaged, 2 no journal, another file, or a journal of a newer version.

    Parameters
    ----------
    journal: Path
        The journal's file.
    """
    from holdfast.errors import JournalDamaged
    from holdfast.journal import verify as check

    try:
        report = check.verify(journal)
    except JournalDamaged as error:
        problem = check.Problem(desk=error.desk, seq=error.seq, text=str(error))
        report = check.VerifyReport(path=str(journal), desks=(), problems=(problem,))
    if common.json:
        print_json(_object(report))
    else:
        _print(report)
    if report.intact:
        return INTACT
    for problem in report.problems[:PROBLEMS_TOLD_MAX]:
        complain(problem.text)
    if len(report.problems) > PROBLEMS_TOLD_MAX:
        complain(f"and {len(report.problems) - PROBLEMS_TOLD_MAX} more, which --json lists")
    complain(
        f"{report.path} is damaged; keep a copy of it and of the files beside it, restore the last "
        "backup that this command finds intact, and let the desk reconcile with its broker"
    )
    return DAMAGED


def _object(report: "VerifyReport") -> dict[str, object]:
    return {
        "journal": report.path,
        "intact": report.intact,
        "records": report.records,
        "desks": [
            {
                "desk": desk.desk,
                "records": desk.records,
                "last_record": desk.head.seq,
                "last_at": iso(desk.head.at_ns),
                "last_hash": desk.head.hash.hex(),
            }
            for desk in report.desks
        ],
        "problems": report.problems,
    }


def _print(report: "VerifyReport") -> None:
    fields: list[tuple[str, object]] = [("journal", report.path)]
    for desk in report.desks:
        end = f"{desk.records:,} records until {iso(desk.head.at_ns)}"
        fields += [(f"desk {desk.desk}", end), ("", f"last hash {desk.head.hash.hex()}")]
    fields.append(("verdict", "intact" if report.intact else "DAMAGED"))
    print_fields(fields)
