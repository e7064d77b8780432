"""The front door: one command, `kilonova`, whose subcommands are the processes and the operator's tools."""
