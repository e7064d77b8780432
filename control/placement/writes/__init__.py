"""What may change in placement, each change a pure function from a Reading to a guarded transaction.

Whoever writes providers, usages or allocations does it through these functions, in whatever process: the REST API
through a Writer, others by adding them to a transaction of their own. No I/O here, and no clock: times come in.
"""
