#!/usr/bin/env python3
"""Checks that the second verifier makes of each custody vector what the vector says.

    check_custody_vectors.py tests/vectors/custody

The vectors' form is in docs/custody.md section 8. Exit codes: 0 all are as they say, 1 one is not.
"""

import datetime
import json
import re
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from second_verifier import (
    Key, Keyring, Note, Refused, Trust, audit, check_consistency, check_inclusion, need,
    parse_piece, piece_path, read_bucket, read_entry, sha256, unbase64,
)


def outcome(act):
    try:
        return act()
    except Refused as refused:
        return str(refused)


def check_vectors(folder):
    files, wrong, count = read_bucket(folder), [], 0
    for name in ("keys", "notes", "keyrings", "entries", "paths", "proofs", "buckets"):
        for case in json.loads(files[f"{name}.json"]):
            seen = outcome(lambda: CHECKS[name](case, files))
            seen = "refused" if seen == "malformed" and name not in ("notes", "keyrings") else seen
            count += 1
            if seen != case["expect"]:
                wrong.append(f"{name}: {seen}, not as in {json.dumps(case)[:300]}")
    print(*wrong, f"{count - len(wrong)} of {count} vectors are as they say", sep="\n")
    return 1 if wrong else 0


def check_key(case, _):
    key = Key(case["verifier"])
    seed = unbase64(case["private"].split("+", 4)[4])[1:]
    print4 = sha256(key.text.encode()).hex()[:16]
    need(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() == key.public)
    need((key.name, key.id.hex(), seed.hex()) == (case["name"], case["id"], case["seed"]))
    need("-".join(re.findall("....", print4)) == case["fingerprint"])
    return "read"


def check_note(case, files):
    seconds = Note(files[case["file"]]).verify(Key(case["key"]))
    need(seconds == case.get("seconds", True), "another time")
    return "signed"


def check_keyring(case, files):
    trust = Trust(case["root"])
    for earlier in case["after"]:
        need(trust.take(files[earlier]) == "taken", "an earlier one was refused")
    word = trust.take(files[case["file"]])
    digest = sha256(trust.last.note.text.encode()).hex()
    need(case.get("sha256", digest) == digest, "another digest")
    for day, number in case.get("recipients", {}).items():
        need(trust.last.count(datetime.date.fromisoformat(day)) == number, "recipients")
    return word


def check_entry(case, _):
    return need(read_entry(case["entry"].encode())["event"] == case.get("event")) and "read"


def check_path(case, _):
    level, index, width = need(parse_piece(case["path"]))
    need((str(level), index, width) == (case["level"], case["index"], case["width"]))
    return need(piece_path(level, index, width) == case["path"]) and "read"


def check_proof(case, _):
    proof, of = [bytes.fromhex(p) for p in case["proof"]], lambda name: bytes.fromhex(case[name])
    if case["kind"] == "inclusion":
        check_inclusion(of("leaf"), case["index"], case["size"], of("root"), proof)
    else:
        check_consistency(case["old"], of("old-root"), case["new"], of("new-root"), proof)
    return "proven"


def check_bucket(case, files):
    bucket = {path[7:]: data for path, data in files.items() if path.startswith("bucket/")}
    for path in case["remove"]:
        del bucket[path]
    bucket |= {path: files[file] for path, file in case["replace"].items()}
    today, keyring = datetime.date.fromisoformat(case["today"]), Keyring(files[case["keyring"]])
    found = audit(bucket, keyring, today, case.get("remembered"))
    need(not found or case.get("found") in found, f"found {sorted(found)}")
    return "changed" if found else "intact"


CHECKS = dict(
    keys=check_key, notes=check_note, keyrings=check_keyring, entries=check_entry,
    paths=check_path, proofs=check_proof, buckets=check_bucket,
)


if __name__ == "__main__":
    sys.exit(check_vectors(sys.argv[1]))
