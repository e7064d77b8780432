"""A whole site in one process on virtual time: the real engine, sagas, scheduler, leases and agents over the store's
in-memory twin and a bus that delays, drops, doubles and reorders. A seed replays exactly.

`loop` is time and processes that can be killed or paused at any await; `bus` the network; `site` the processes; `run`
the work, the faults and what must hold at the end.
"""
