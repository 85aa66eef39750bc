"""The commands.  Each imports what it needs when it runs, so that `lazygraph --version` is quick."""
