"""Sealed claims: what goes in comes out, under any known key, and nothing else does."""

from datetime import UTC, datetime

from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from control.identity.claims import Claims, fernet, seal, unseal

KEY, OTHER = fernet(b"k" * 32), fernet(b"o" * 32)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(st.text(max_size=64), st.none() | st.text(max_size=64), MOMENTS, MOMENTS, st.integers(0, 1 << 31))
def test_what_is_sealed_is_unsealed(
    user: str, project: str | None, issued: datetime, expires: datetime, epoch: int
) -> None:
    claims = Claims(user, project, ("password",), issued, expires, epoch, ("a", "b"))
    token = seal(claims, KEY)
    assert unseal(token, [OTHER, KEY]) == claims
    assert unseal(token, [OTHER]) is None


@given(st.text(max_size=300))
def test_anything_else_is_nobodys(token: str) -> None:
    assert unseal(token, [KEY]) is None


def test_another_format_is_nobodys() -> None:
    assert unseal(Fernet(Fernet.generate_key()).encrypt(b"[1]").decode(), [KEY]) is None
    assert unseal(KEY.encrypt(b'[2, "future"]').decode(), [KEY]) is None
