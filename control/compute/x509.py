"""X.509 certificates as key pairs: imported, fingerprinted, made for logging in to Windows."""

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from control.compute.ssh_keys import MadeKey
from schemas.errors import BadRequest

USER_PRINCIPAL_NAME: Final = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
UTF8_STRING: Final = 0x0C
LIFE: Final = timedelta(days=3650)


def fingerprint(certificate: str) -> str:
    """SHA-1 over the certificate, in pairs of digits with colons. Raises BadRequest for what is no PEM certificate."""
    try:
        digest = x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA1())
    except ValueError as error:
        raise BadRequest("Keypair data is invalid: failed to generate X509 fingerprint") from error
    return digest.hex(":")


def make_certificate(user: str) -> MadeKey:
    """A certificate that signs itself and its RSA key, both PEM. Takes a tenth of a second: not for the event loop."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user[:64])])
    principal = f"{user}@localhost".encode()[:127]
    alternative = x509.OtherName(USER_PRINCIPAL_NAME, bytes([UTF8_STRING, len(principal)]) + principal)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + LIFE)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return MadeKey(certificate.public_bytes(form.Encoding.PEM).decode(), private.decode())
