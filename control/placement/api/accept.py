"""What a client says it takes."""

from functools import lru_cache


@lru_cache(1000)
def accepts(header: str | None, kind: str) -> bool:
    """Whether an Accept header lets through this media type; without a header everything passes."""
    if not header:
        return True
    family = kind.split("/", 1)[0]
    for entry in header.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name in (kind, f"{family}/*", "*/*") and not any(_is_zero(p) for p in parameters):
            return True
    return False


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    try:
        return name.strip() == "q" and float(value) == 0
    except ValueError:
        return False
