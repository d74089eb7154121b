"""``python -m clearpane`` is the command ``clearpane``."""

import sys

from clearpane.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
