#!/usr/bin/env python3
"""A second reader of sealed clips, written from docs/format.md alone: it proves the document.

    second_reader.py --identity FILE [--out FILE] [--commitment HEX] [--any] CLIP

Opens CLIP, checks everything that docs/format.md section 8 asks for, and prints the manifest:
null where it is invalid or of a later version, which keeps no clip from opening.
With --any, CLIP may be any age v1 file: its name is not compared and it needs no manifest.
Exit codes: 0 intact, 1 failed, 2 usage, 12 no identity fits, 13 changed or cut short.

Needs Python 3.11 and `cryptography` 48 (the first primitives, and ML-KEM-768).
"""

import argparse
import base64
import datetime
import hashlib
import hmac
import json
import os
import re
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEADER_SIZE_MAX = 1_048_576
STANZA_COUNT_MAX = 1_024
CHUNK_SIZE = 65_536
TAG_SIZE = 16
MANIFEST_TYPE = "dockseal.manifest/v1"
NESTING_MAX = 64
ZERO_NONCE = bytes(12)


class Refused(Exception):
    """The file is not what its writer made."""


class NoIdentity(Exception):
    """The file is for somebody else."""


# Section 1: notation


def hkdf_extract(salt, ikm):
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand(prk, info, size):
    out, block, counter = b"", b"", 1
    while len(out) < size:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out, counter = out + block, counter + 1
    return out[:size]


def hkdf(ikm, salt, info):
    return hkdf_expand(hkdf_extract(salt, ikm), info, 32)


def aead_open(key, nonce, sealed):
    """The text, or None where the tag does not fit."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, None)
    except InvalidTag:
        return None


def x25519_public(scalar):
    public = X25519PrivateKey.from_private_bytes(scalar).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def x25519(scalar, point):
    private = X25519PrivateKey.from_private_bytes(scalar)
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:  # how `cryptography` reports 32 zero bytes
        raise Refused("a stanza's X25519 result is zero") from None


def unbase64(text):
    """Canonical base64 without padding, and nothing else."""
    if not re.fullmatch(r"[A-Za-z0-9+/]*", text) or len(text) % 4 == 1:
        raise Refused("not base64")
    data = base64.b64decode(text + "=" * (-len(text) % 4))
    if base64.b64encode(data).decode().rstrip("=") != text:
        raise Refused("not canonical base64")
    return data


# Section 2: header


def read_header(file):
    """([(type, arguments, body)], the bytes that the MAC covers, the MAC)."""
    size, covered, lines = 0, b"", []

    def line():
        nonlocal size
        raw = file.readline(HEADER_SIZE_MAX - size + 1)
        size += len(raw)
        if size > HEADER_SIZE_MAX:
            raise Refused("the header is too large")
        if not raw.endswith(b"\n"):
            raise Refused("the file ends inside its header")
        if not all(0x20 <= byte <= 0x7E for byte in raw[:-1]):
            raise Refused("a byte in the header that is not printable ASCII")
        lines.append(raw)
        return raw[:-1].decode("ascii")

    if line() != "age-encryption.org/v1":
        raise Refused("not an age v1 file")
    stanzas = []
    while True:
        first = line()
        if first.startswith("--- "):
            mac = unbase64(first[4:])
            if len(mac) != 32 or not stanzas:
                raise Refused("a header without a MAC or without a stanza")
            covered = b"".join(lines[:-1]) + b"---"
            return stanzas, covered, mac
        if not first.startswith("-> ") or len(stanzas) == STANZA_COUNT_MAX:
            raise Refused("not a stanza, or too many")
        words = first[3:].split(" ")
        if not all(words):
            raise Refused("an empty word in a stanza")
        body = b""
        while True:
            text = line()
            if len(text) > 64:
                raise Refused("a body line of more than 64 characters")
            body += unbase64(text)
            if len(text) < 64:
                break
        stanzas.append((words[0], words[1:], body))


def verify_mac(file_key, covered, mac):
    key = hkdf(file_key, b"", b"header")
    if not hmac.compare_digest(hmac.digest(key, covered, "sha256"), mac):
        raise Refused("the header was changed: its MAC does not fit")


# Section 3: recipients


def bech32_decode(text):
    """(hrp, bytes)."""
    if text != text.lower() and text != text.upper():
        raise ValueError("mixed case")
    text = text.lower()
    hrp, separator, data = text.rpartition("1")
    if not hrp or not separator or len(data) < 6:
        raise ValueError("not Bech32")
    values = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(c) for c in data]
    generator = [0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]
    r = 1
    for value in [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp] + values:
        top = r >> 25
        r = (r & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            if top >> i & 1:
                r ^= generator[i]
    if r != 1:
        raise ValueError("the checksum does not fit")
    bits = "".join(f"{value:05b}" for value in values[:-6])
    left_over = len(bits) % 8
    if left_over > 4 or "1" in bits[len(bits) - left_over :]:
        raise ValueError("left-over bits")
    return hrp, bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - left_over, 8))


def read_identities(path):
    """[(stanza type, 32 bytes)]."""
    types = {"age-secret-key-": "X25519", "age-secret-key-pq-": "mlkem768x25519"}
    identities = []
    with open(path, encoding="utf-8") as file:
        for line in file.read().splitlines():
            if not line or line.startswith("#"):
                continue
            hrp, secret = bech32_decode(line)
            if hrp not in types or len(secret) != 32:
                raise ValueError("not an identity of a known type")
            identities.append((types[hrp], secret))
    return identities


def unwrap_x25519(identity, share, body):
    shared = x25519(identity, share)
    salt = share + x25519_public(identity)
    key = hkdf(shared, salt, b"age-encryption.org/v1/X25519")
    return aead_open(key, ZERO_NONCE, body)


SUITE_ID = b"HPKE" + bytes.fromhex("647a" "0001" "0003")


def labeled_extract(salt, label, ikm):
    return hkdf_extract(salt, b"HPKE-v1" + SUITE_ID + label + ikm)


def labeled_expand(prk, label, info, size):
    return hkdf_expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + SUITE_ID + label + info, size)


def unwrap_mlkem768x25519(seed, enc, body):
    expanded = hashlib.shake_256(seed).digest(96)
    decapsulation_key = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    sk_x = expanded[64:]
    ct_m, ct_x = enc[:1088], enc[1088:]
    ss_m = decapsulation_key.decapsulate(ct_m)
    ss_x = x25519(sk_x, ct_x)
    label = bytes.fromhex("5c2e2f2f5e5c")
    shared = hashlib.sha3_256(ss_m + ss_x + ct_x + x25519_public(sk_x) + label).digest()
    context = b"\x00" + labeled_extract(b"", b"psk_id_hash", b"")
    context += labeled_extract(b"", b"info_hash", b"age-encryption.org/mlkem768x25519")
    secret = labeled_extract(shared, b"secret", b"")
    key = labeled_expand(secret, b"key", context, 32)
    nonce = labeled_expand(secret, b"base_nonce", context, 12)
    return aead_open(key, nonce, body)


UNWRAP = {"X25519": (unwrap_x25519, 32), "mlkem768x25519": (unwrap_mlkem768x25519, 1120)}


def unwrap(stanzas, identities):
    """The file key."""
    if len(stanzas) > 1 and any(kind == "scrypt" for kind, _, _ in stanzas):
        raise Refused("a passphrase stanza that does not stand alone")
    found = None
    for kind, args, body in stanzas:
        if not any(kind == identity_kind for identity_kind, _ in identities):
            continue
        function, arg_size = UNWRAP[kind]
        if len(args) != 1 or len(body) != 32:
            raise Refused(f"a malformed {kind} stanza")
        arg = unbase64(args[0])
        if len(arg) != arg_size:
            raise Refused(f"a malformed {kind} stanza")
        for identity_kind, secret in identities:
            if identity_kind == kind and found is None:
                found = function(secret, arg, body)
    if found is None:
        raise NoIdentity("no identity fits")
    return found


# Section 4: payload


def read_payload(file, file_key):
    """Yields the clip, piece by piece; a reader that is refused has read no wrong byte."""
    nonce = file.read(16)
    if len(nonce) != 16:
        raise Refused("the file ends inside its nonce")
    key = hkdf(file_key, nonce, b"payload")
    chunk, index = file.read(CHUNK_SIZE + TAG_SIZE), 0
    while True:
        following = file.read(CHUNK_SIZE + TAG_SIZE)
        last = b"\x00" if following else b"\x01"
        if len(chunk) < TAG_SIZE or (len(chunk) == TAG_SIZE and index > 0):
            raise Refused("the file is cut short")
        piece = aead_open(key, index.to_bytes(11, "big") + last, chunk)
        if piece is None:
            raise Refused(f"chunk {index} was changed, or the file was cut or continued")
        yield piece
        if not following:
            return
        chunk, index = following, index + 1


# Section 5: manifest


def refuse_twice(pairs):
    if len(dict(pairs)) != len(pairs):
        raise Refused("a manifest with a name twice")
    return dict(pairs)


def refuse_constant(name):
    raise Refused(f"{name} in a manifest")  # Python takes NaN and Infinity for JSON


def find_manifest(stanzas, file_key):
    """("found", manifest), or ("absent", "invalid" or "later", why not). Only after verify_mac."""
    found = [stanza for stanza in stanzas if stanza[0].startswith("dockseal.manifest/")]
    if not found:
        return "absent", "no manifest: not a sealed clip"
    if len(found) == 1 and found[0][0] != MANIFEST_TYPE:
        return "later", "the manifest is of a later version of dockseal"
    try:
        return "found", read_manifest(found, file_key)
    except Refused as error:
        return "invalid", str(error)


def read_manifest(found, file_key):
    """The manifest of the stanzas that may have one."""
    kind, args, body = found[0]
    if len(found) > 1 or len(args) != 1:
        raise Refused("a second manifest, or one without its salt")
    salt = unbase64(args[0])
    text_size = len(body) - TAG_SIZE
    if len(salt) != 16 or text_size % 512 or not 0 < text_size <= 8192:
        raise Refused("a manifest of a wrong size")
    text = aead_open(hkdf(file_key, salt, MANIFEST_TYPE.encode()), ZERO_NONCE, body)
    if text is None:
        raise Refused("the manifest was not sealed with this clip")
    if not re.fullmatch(rb"\{.*\} *", text, re.DOTALL):
        raise Refused("the manifest is not an object and its padding")
    try:
        manifest = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=refuse_twice,
            parse_constant=refuse_constant,
            parse_int=lambda digits: -0.0 if digits == "-0" else int(digits),  # no integer of ours
        )
        json.dumps(manifest, ensure_ascii=False).encode("utf-8")  # half a pair cannot be encoded
        refuse_deep(manifest, NESTING_MAX)
    except (ValueError, RecursionError):
        raise Refused("the manifest is not JSON") from None
    check_fields(manifest)
    return manifest


def refuse_deep(value, levels):
    if isinstance(value, (dict, list)):
        if levels == 0:
            raise Refused("a manifest with values nested too deep")
        for inner in value.values() if isinstance(value, dict) else value:
            refuse_deep(inner, levels - 1)


def check_fields(manifest):
    def name(value):
        if isinstance(value, dict):
            return list(value) == ["base64"] and unbase64(value["base64"]) is not None
        return isinstance(value, str) and not re.search(r"[\x00-\x1f\x7f-\x9f]", value)

    def integer(value):
        return type(value) is int and 0 <= value < 1 << 64

    def time(value):
        pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z"
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            return False
        try:
            return bool(datetime.datetime.fromisoformat(value[:19]))
        except ValueError:
            return False

    rules = {
        "version": lambda value: integer(value) and 1 <= value < 1 << 32,
        "dock": lambda value: isinstance(value, str),
        "name": name,
        "folder": name,
        "size_bytes": integer,
        "modified": time,
        "sealed": time,
        "commitment_salt": lambda value: isinstance(value, str) and len(unbase64(value)) == 32,
    }
    for field, rule in rules.items():
        if not isinstance(manifest, dict) or field not in manifest or not rule(manifest[field]):
            raise Refused(f"the manifest's {field} is missing or malformed")
    if not isinstance(manifest.get("camera", ""), str):
        raise Refused("the manifest's camera is malformed")


# Section 8: the checks, in order


def verify_name(path):
    match = re.fullmatch(r"([0-9a-f]{64})\.age", os.path.basename(path))
    if not match:
        raise Refused("not named as a sealed clip: expected 64 hex digits and .age")
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != match[1]:
            raise Refused("the file's digest is not its name")


def open_clip(args, out):
    """The manifest, after every check; the clip's bytes went to `out`."""
    if not args.any:
        verify_name(args.clip)
    with open(args.clip, "rb") as file:
        stanzas, covered, mac = read_header(file)
        file_key = unwrap(stanzas, read_identities(args.identity))
        verify_mac(file_key, covered, mac)
        finding, manifest = find_manifest(stanzas, file_key)
        if finding == "absent" and not args.any:
            raise Refused(manifest)
        digest, size = hashlib.sha256(), 0
        for piece in read_payload(file, file_key):
            digest.update(piece)
            size += len(piece)
            out.write(piece)
    if finding != "found":
        print(f"second_reader: note: {manifest}", file=sys.stderr)
        return None
    if size != manifest["size_bytes"]:
        print("second_reader: note: the clip's size is not the manifest's", file=sys.stderr)
    salt = unbase64(manifest["commitment_salt"])
    commitment = hashlib.sha256(salt + digest.digest()).hexdigest()
    if args.commitment not in (None, commitment):
        raise Refused("the clip is not the one that was committed to")
    return manifest


def open_to(args):
    """The clip gets its name only after every check, and never replaces a file."""
    if not args.out:
        with open(os.devnull, "wb") as out:
            return open_clip(args, out)
    unfinished = f"{args.out}.unfinished"
    with open(unfinished, "xb") as out:
        try:
            manifest = open_clip(args, out)
            os.link(unfinished, args.out)
        finally:
            os.unlink(unfinished)
    return manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--identity", required=True, metavar="FILE", help="an age identity file")
    parser.add_argument("--out", metavar="FILE", help="where the clip goes; never replaced")
    parser.add_argument("--commitment", metavar="HEX", help="compare the clip with it")
    parser.add_argument("--any", action="store_true", help="take any age v1 file")
    parser.add_argument("clip", metavar="CLIP")
    args = parser.parse_args()
    try:
        manifest = open_to(args)
    except NoIdentity as error:
        print(f"second_reader: {error}", file=sys.stderr)
        return 12
    except Refused as error:
        print(f"second_reader: refused: {error}", file=sys.stderr)
        return 13
    except (OSError, ValueError) as error:
        print(f"second_reader: {error}", file=sys.stderr)
        return 1
    print(json.dumps(manifest, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
