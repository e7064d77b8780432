"""The control plane: API, identity, images, placement, scheduler, conductors, cells, and a small site on one machine.

Never imports agents; pure modules here import schemas only.
"""
