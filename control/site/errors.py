"""What goes wrong around processes of this machine, said with what to type next."""

from schemas.errors import KilonovaError


class SiteError(KilonovaError):
    """The site cannot be brought up, down or shown."""


class PortTaken(SiteError):
    """Something else listens on a port that the site needs."""


class PartFailed(SiteError):
    """A process ended or did not get ready in time; carries the end of its log."""
