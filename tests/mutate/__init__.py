"""Faults planted one at a time, to see that the simulation or a named test catches each of them.

`planted` are faults of the kind that a change might bring; `compares` removes each compare of each transaction. `run`
plants one and looks who catches it; the table of results is kept in a file, so that a run can be continued.
"""
