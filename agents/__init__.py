"""The host agent and its drivers. It has the bus and its hypervisor, no store and no database.

Imports schemas, bus and runtime; never kv, never control.
"""
