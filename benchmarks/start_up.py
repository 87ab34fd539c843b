# SPDX-License-Identifier: Apache-2.0
"""What a user waits for: `import bittwin` beyond numpy, and `bittwin verify` as a whole process.

python benchmarks/start_up.py [RECORD.json] [DUMP_FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from harness import ROOT, median_seconds, pin_to_one_core, report


def process(*arguments: str) -> Callable[[], object]:
    def run() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    return run


def main() -> None:
    pin_to_one_core()
    dump = sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "examples" / "digits" / "dump")
    process("-m", "bittwin", "verify", dump)()  # correct (exit code 0) before it is fast
    seconds = median_seconds(
        {
            "python": process("-c", ""),
            "import numpy": process("-c", "import numpy"),
            "import bittwin": process("-c", "import bittwin"),
            "verify": process("-m", "bittwin", "verify", dump),
        }
    )
    rows = {name: 1000 * s for name, s in seconds.items()}
    rows["import bittwin beyond numpy"] = rows["import bittwin"] - rows["import numpy"]
    report("start-up, whole processes, medians of 15, interleaved", "ms", rows, {"dump": dump})


if __name__ == "__main__":
    main()
