#!/usr/bin/env python3
"""Checks that the second reader makes of each clip vector what the vector says.

    check_vectors.py tests/vectors/clip

The vectors' form is in tests/vectors/README.md. Exit codes: 0 all are as they say, 1 one is not.
"""

import hashlib
import io
import json
import os
import sys
import tempfile

import second_reader as reader


def parse(path):
    """({name: value}, the sealed clip)."""
    with open(path, "rb") as file:
        facts, _, clip = file.read().partition(b"\n\n")
    return dict(line.split(": ", 1) for line in facts.decode().splitlines()), clip


def identities(text):
    with tempfile.NamedTemporaryFile("w", suffix=".identity") as file:
        file.write(text)
        file.flush()
        return reader.read_identities(file.name)


def read_header(seen, file, identity):
    """The file key; what was seen of the header and the manifest is in `seen`."""
    seen["expect"] = "header failure"
    stanzas, covered, mac = reader.read_header(file)
    try:
        file_key = reader.unwrap(stanzas, identities(identity))
    except reader.NoIdentity:
        seen["expect"] = "no match"
        raise
    seen["expect"] = "HMAC failure"
    reader.verify_mac(file_key, covered, mac)
    seen["file key"] = file_key.hex()
    seen["manifest"], manifest = reader.find_manifest(stanzas, file_key)
    if seen["manifest"] == "found":
        seen["json"] = manifest
    return file_key


def read(clip, identity):
    """What is seen of a clip, in the vectors' words."""
    seen, released, file = {}, b"", io.BytesIO(clip)
    try:
        file_key = read_header(seen, file, identity)
        seen["expect"] = "payload failure"
        for piece in reader.read_payload(file, file_key):
            released += piece
        seen["expect"] = "success"
    except (reader.Refused, reader.NoIdentity):
        pass
    digest = hashlib.sha256(released)
    if seen["expect"] == "success" or released:
        seen["payload"] = digest.hexdigest()
    if seen["expect"] == "success" and "json" in seen:
        seen["size"] = "same" if seen["json"]["size_bytes"] == len(released) else "other"
        salt = reader.unbase64(seen["json"]["commitment_salt"])
        seen["commitment"] = hashlib.sha256(salt + digest.digest()).hexdigest()
    return seen


def main():
    folder, count, wrong = sys.argv[1], 0, 0
    for name in sorted(os.listdir(folder)):
        facts, clip = parse(os.path.join(folder, name))
        said = {key: value for key, value in facts.items() if key not in ("comment", "identity")}
        if "json" in said:
            said["json"] = json.loads(said["json"])
        seen = read(clip, facts["identity"])
        if seen["expect"] == "payload failure" and "payload" not in seen:
            said.pop("payload", None)  # a reader may give out less of a clip that is damaged
        if "manifest" not in said:  # who cannot verify the header does not see its key
            said.pop("file key")
        count += 1
        for key in sorted(said.keys() | seen.keys()):
            if said.get(key) != seen.get(key):
                print(f"{name}: {key}: {said.get(key)}, not {seen.get(key)}", file=sys.stderr)
                wrong += 1
    if wrong or not count:
        return 1
    print(f"{count} vectors are as they say")
    return 0


if __name__ == "__main__":
    sys.exit(main())
