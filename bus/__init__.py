"""The only code that touches NATS: connect, requests, functions as micro-service endpoints, drain.

Imports schemas; agents may have it, since it knows nothing of the store.
"""
