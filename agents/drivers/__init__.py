"""Drivers: the one way from the agent to a hypervisor.

`base` is the contract, `libvirt` drives QEMU, `simulated` plays hosts in memory. A driver knows nothing of the bus, of
sessions or of jobs: it makes guests and says how they are.
"""
