"""What a server over TLS shows its clients, made for the run."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_VALID = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """Files in PEM: the certificate of an authority, which clients trust; one that it has signed
    for localhost and 127.0.0.1; and the key to that, of P-256.
    """

    authority: Path
    certificate: Path
    key: Path


def make_identity(folder: Path) -> Identity:
    """Make it, in new files of `folder`. It is good for a day."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        for text in ("bench authority", "bench server")
    )
    own = _certificate(
        authority_name, authority_key.public_key(), authority_name, is_authority=True
    )
    signed = _certificate(name, key.public_key(), authority_name, is_authority=False)
    names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    signed = signed.add_extension(x509.SubjectAlternativeName(names), critical=False)
    identity = Identity(*(folder / f"{part}.pem" for part in ("authority", "certificate", "key")))
    for file, builder in ((identity.authority, own), (identity.certificate, signed)):
        certificate = builder.sign(authority_key, hashes.SHA256())
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    identity.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return identity


def _certificate(
    name: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _VALID).not_valid_after(now + _VALID)
    constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
    return builder.add_extension(constraints, critical=True)
