"""Resources: what providers have, what is claimed on them. Pure; the shells are the scheduler and the conductors."""
