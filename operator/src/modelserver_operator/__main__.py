"""`python -m modelserver_operator`."""

import sys

from modelserver_operator.cli import main

sys.exit(main())
