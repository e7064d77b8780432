"""The only code that touches etcd: keys, client, guarded transactions, watch caches, leases and shards.

Imports schemas. Everything above reads and writes records through a `Store`.
"""
