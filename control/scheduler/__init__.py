"""Chooses and claims hosts.

`decide` and the filters are pure functions of a model that `feed` keeps current; `service` answers requests.
"""
