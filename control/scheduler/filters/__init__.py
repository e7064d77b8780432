"""Host filters: each says of a host why it cannot take a request. One theme a file, all of them in `table.py`.

A filter is cheap arithmetic over all rows (MaskFilter) or a question to one host (HostFilter), which is asked in the
order of weights and only until enough hosts have passed. Names, options and defaults are Nova's.
"""
