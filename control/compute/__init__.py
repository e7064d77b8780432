"""The compute API: one table of operations, from which routes, policy, validation and OpenAPI derive.

A request goes app -> microversions -> tables -> validation -> policy -> handlers -> views. Handlers are functions of a
`Call`; views are pure. What a server goes through is the affair of `control.servers`.
"""
