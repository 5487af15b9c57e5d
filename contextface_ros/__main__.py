"""`python -m contextface_ros ...` is the command `contextface ...`."""

from contextface_ros.cli import main

raise SystemExit(main())
