"""A whole small site on one machine, for try-out, tests and benches: `kilonova site up|down|status|demo|logs`.

Here lives what finds, starts, watches and stops processes and writes the files that clients attach with. The site's
processes are reached as any outsider reaches them: by command, port and HTTP; nothing of them is imported.
"""
