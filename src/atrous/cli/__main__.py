"""`python -m atrous.cli`."""

import sys

from atrous.cli.start import main

sys.exit(main())
