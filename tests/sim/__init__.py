"""A whole site in one process on virtual time: the real engine, sagas, scheduler, leases and agents over the store's
in-memory twin and a bus that delays, drops, doubles and reorders. A seed replays exactly.

`loop` is time and processes that can be killed or paused at any await; `bus` the network; `place` an etcd and a NATS
with all that can go wrong on the way to them; `site` the processes; `clients` and `nemesis` what is asked for and what
goes wrong; `monitor` the invariants at every instant and `invariants` those at rest; `run` a seed; `scenario` one story
that a test tells.
"""
