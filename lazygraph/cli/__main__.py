"""`python -m lazygraph.cli`: how clusters start their processes."""

from lazygraph.cli.main import main

main()
