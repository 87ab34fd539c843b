# SPDX-License-Identifier: Apache-2.0
"""What a user waits for: whole processes, wall time.

    python benchmarks/verify.py [--quick] [--dump OUTPUT_FOLDER] [--out RECORD.json]

`import bittwin` beyond numpy, and `bittwin verify` of a dump: read, teacher-forced and free-running
comparison of every code, report. Without a dump it is the example's (3 layers).
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time

from harness import Contender, Effort
from record import ROOT, Options, Report, command, derived

TITLE = "start-up, whole processes, wall time, medians, interleaved"
VERIFY, IMPORT, NUMPY = "bittwin verify", "import bittwin", "import numpy"


def process(*arguments: str) -> None:
    """Run python; a return code other than 0 is an error: correct before it is fast."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def run(options: Options) -> Report:
    """Measure."""
    dump = options.dump or str(ROOT / "examples" / "digits" / "dump")
    lines = {
        "python": ("-c", ""),
        NUMPY: ("-c", "import numpy"),
        IMPORT: ("-c", "import bittwin"),
        VERIFY: ("-m", "bittwin", "verify", dump),
    }
    contenders = [Contender(name, functools.partial(process, *a)) for name, a in lines.items()]
    contenders[-1] = Contender(VERIFY, contenders[-1].run, "ours")
    effort = Effort(0, 1, 1) if options.smoke else Effort(1.0, 5, 9)
    report = Report()
    what = "own dump" if options.dump else "example dump"
    report.time(
        what,
        contenders,
        Options(effort, options.smoke),
        what="process",
        clock=time.perf_counter_ns,
    )
    rows = {row["name"]: row for row in report.rows}
    less = rows[NUMPY]["us"]
    report.rows.append(derived(rows[IMPORT], "import bittwin, beyond numpy", less))
    return report


if __name__ == "__main__":
    command(TITLE, run)
