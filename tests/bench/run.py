"""Every measurement in turn: ``make bench``. Nothing here is a test; nothing has a limit."""

from __future__ import annotations

import head
import imports
import texts
from table import machine


def main() -> None:
    print(machine())
    for part in (imports, head, texts):
        part.run()


if __name__ == "__main__":
    main()
