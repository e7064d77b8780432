"""All HTTP of the control plane as one ASGI application: compute, identity, images, health and metrics.

What every request gets, whichever API it is for, lives here; what an API does lives in its own room.
"""
