"""Resources: what providers have, what is claimed on them, where a request could be placed.

`forest`, `candidates` and `writes` are pure. Two shells stand around them: `view` keeps the forest current by one
watch, `writer` commits what a write decides. `api` is the REST API on both; the scheduler and the conductors use the
library.
"""
