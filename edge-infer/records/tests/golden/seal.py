"""Makes seal.json: what the journal's cryptography must give, by other implementations.

HMAC, Argon2id and HPKE are those of `cryptography` (OpenSSL, 47 or newer), XChaCha20-Poly1305 is that of PyNaCl
(libsodium), the hash of an audit row is composed here from the description in src/journal/audit.rs.

    python seal.py > seal.json
"""

import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha

DATA_KEY = bytes(range(32))
DEVICE_SECRET = bytes(range(100, 132))
SALT = bytes(range(50, 66))
NONCE = bytes(range(200, 224))
PIN = "4711-ክፍት"
OPERATOR = "Asha"


def derive(purpose):
    return hmac.digest(DATA_KEY, purpose.encode(), "sha256")


def seal(key, record, plain):
    return NONCE + xchacha(plain, record.encode(), NONCE, key)


def value(v):
    if v is None:
        return b"n"
    if isinstance(v, int):
        return b"i" + struct.pack("<q", v)
    letter, data = (b"t", v.encode()) if isinstance(v, str) else (b"b", v)
    return letter + struct.pack("<Q", len(data)) + data


pin_key = Argon2id(salt=SALT, length=32, iterations=2, lanes=1, memory_cost=256, secret=DEVICE_SECRET).derive(PIN.encode())
private = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
box = suite.encrypt(DATA_KEY, private.public_key(), info=b"glaucoma-records recovery 1")
row = [7, "2026-05-01T09:30:00Z", None, "exam_recorded", "exams", "2.25.1", bytes([3] * 32), None]

print(json.dumps({
    "check": derive("glaucoma-records check 1").hex(),
    "lookup": hmac.digest(derive("glaucoma-records lookup 1"), "ID-0042".encode(), "sha256").hex(),
    "sealed": seal(derive("glaucoma-records sealing 1"), "photograph:2.25.1", b"a photograph").hex(),
    "wrapped": seal(pin_key, "operator:" + OPERATOR, DATA_KEY).hex(),
    "recovery_public": private.public_key().public_bytes_raw().hex(),
    "recovery_box": box.hex(),
    "audit_row": hashlib.sha256(bytes([9] * 32) + b"".join(map(value, row))).hexdigest(),
}, indent=2))
