"""Every measurement in turn: ``make bench``. Nothing here is a test; nothing has a limit."""

from __future__ import annotations

import head
import imports
import texts

from coder_export.bench.machine import machine, machine_line


def main() -> None:
    print(machine_line(machine()))
    for part in (imports, head, texts):
        part.run()


if __name__ == "__main__":
    main()
