"""etcd in memory, for simulation and fast tests: a `Cluster` holds the state, each process has a `Twin` of
`kv.client.Etcd` connected to it. It behaves as etcd 3.5 does, down to its answers' texts; one contract suite runs on
both. Nothing here reads the system's clock, draws a random number or touches the network: that comes in as arguments.
"""
