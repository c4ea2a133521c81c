#!/usr/bin/env python3
"""A second verifier of custody logs, written from docs/custody.md alone: it proves the document.

    second_verifier.py --keyring FILE --root KEY [--today DAY] BUCKET

Verifies all logs of BUCKET, a folder, by the keyring in FILE, which the root KEY must have signed.
`tests/check_custody_vectors.py` tries it with the vectors.
Exit codes: 0 nothing found, 1 failed, 2 usage, 13 findings: each line names an object.

Needs Python 3.11 and `cryptography` (Ed25519).
"""

import argparse
import base64
import datetime
import hashlib
import json
import os
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NAME = r"[^\s+\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+"
DECIMAL, HEX = r"0|[1-9][0-9]*", r"[0-9a-f]{64}"
DAY, TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}"


class Refused(Exception):
    """Its text is the word of the refusal."""


def need(fact, word="malformed"):
    if not fact:
        raise Refused(word)
    return fact


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("malformed") from None
    need(base64.b64encode(data).decode() == text)
    return data


def sha256(data):
    return hashlib.sha256(data).digest()


# Section 1: signed notes and keys

# The points of low order, by their y: 0, 1, -1, and the two of order 8.
PRIME = 2**255 - 19
ORDER_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
Y8 = int.from_bytes(bytes.fromhex(ORDER_8), "little")


def is_weak(point):
    return int.from_bytes(point, "little") % 2**255 % PRIME in (0, 1, PRIME - 1, Y8, PRIME - Y8)


class Key:
    def __init__(self, text):
        name, id_, data = (need(text.count("+") >= 2) and text).split("+", 2)
        data = unbase64(data)
        need(re.fullmatch(NAME, name) and len(name.encode()) <= 128 and len(text) <= 512)
        need(len(data) == 33 and data[0] in (1, 4) and not is_weak(data[1:]))
        self.text, self.name, self.type, self.public = text, name, data[0], data[1:]
        self.id = sha256(name.encode() + b"\n" + data)[:4]
        need(self.id.hex() == id_)

    def verify(self, text, signature):
        if self.type == 4:
            seconds = int.from_bytes(signature[:8], "big")
            need(len(signature) == 72 and seconds < 1 << 63, "forged")
            text, signature = f"cosignature/v1\ntime {seconds}\n{text}", signature[8:]
        try:
            need(len(signature) == 64 and not is_weak(signature[:32]), "forged")
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            raise Refused("forged") from None
        return seconds if self.type == 4 else True


class Note:
    def __init__(self, data):
        try:
            self.note = data.decode("utf-8")
        except ValueError:
            raise Refused("malformed") from None
        need(len(data) <= 4 << 20 and not re.search(r"[\x00-\x09\x0b-\x1f]", self.note))
        text, gap, lines = self.note.rpartition("\n\n")
        need(gap and text and lines.endswith("\n"))
        self.text, self.lines = text + "\n", []
        for line in lines[:-1].split("\n"):
            match = need(re.fullmatch(f"\u2014 ({NAME}) (.+)", line))
            self.lines.append((match[1], unbase64(match[2])))
            need(len(match[1].encode()) <= 128 and 4 < len(self.lines[-1][1]) <= 8192)
        need(len(self.lines) <= 64)

    def verify(self, key):
        """The latest time of a cosignature, or True."""
        own = [data[4:] for name, data in self.lines if (name, data[:4]) == (key.name, key.id)]
        need(own, "not-signed")
        return max(key.verify(self.text, signature) for signature in own)


# Section 2: the keyring; format.md section 3 for Bech32


def check_recipient(text):
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    hrp, _, data = text.rpartition("1")
    need(hrp in ("age", "age1pq", "age1tag") and all(c in alphabet for c in data))
    values, r = [alphabet.index(c) for c in data], 1
    for v in [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp] + values:
        top, r = r >> 25, (r & 0x1FFFFFF) << 5 ^ v
        for i, g in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            r ^= g if top >> i & 1 else 0
    size = {"age": 32, "age1pq": 1216, "age1tag": 33}[hrp]
    need(r == 1 and (len(values) - 6) * 5 // 8 == size)
    return hrp == "age1pq"


def span(first, last):
    try:
        days = datetime.date.fromisoformat(first), datetime.date.fromisoformat(last)
    except ValueError:
        raise Refused("malformed") from None
    need(days[0] <= days[1])
    return days


class Keyring:
    def __init__(self, data):
        self.note = Note(data)
        words = (
            rf"dockseal\.keyring/v1\nauthority (?P<authority>\S+)\n"
            rf"revision (?P<revision>{DECIMAL})\nissued (?P<issued>{DAY}T{TIME}Z)\nexpires (?P<expires>{DAY})\n"
            rf"retention-days (?P<retention>{DECIMAL})\n"
            rf"(?P<recipients>(recipient [A-Za-z0-9-]{{1,32}} (always|{DAY} {DAY}) \S+\n)*)"
            rf"(?P<docks>(dock {DAY} {DAY} \S+\n)*)(successor (?P<successor>\S+)\n)?"
        )
        match = need(re.fullmatch(words, self.note.text))
        span(match["expires"], match["expires"])
        try:
            datetime.datetime.fromisoformat(match["issued"])
        except ValueError:
            raise Refused("malformed") from None
        self.authority, self.revision = Key(match["authority"]), int(match["revision"])
        self.retention = int(match["retention"])
        self.successor = Key(match["successor"]) if match["successor"] else None
        need(0 < self.revision < 1 << 64 and self.retention < 1 << 32)
        lines = [line.split() for line in match["recipients"].splitlines()]
        self.recipients = [(line[-1], len(line) == 5 and span(*line[2:4])) for line in lines]
        lines = [line.split() for line in match["docks"].splitlines()]
        self.docks = [(Key(line[3]), span(*line[1:3])) for line in lines]
        self.check()

    def check(self):
        texts = [text for text, _ in self.recipients]
        need(0 < len(texts) <= 1024 and len(self.docks) <= 10_000 and len(set(texts)) == len(texts))
        need(len({check_recipient(text) for text in texts}) == 1)
        need(len({bool(days) for _, days in self.recipients}) == 1)
        keys = [self.authority, *(key for key, _ in self.docks)]
        need(all(key.type == 1 for key in keys + [self.successor] * bool(self.successor)))
        for index, (key, days) in enumerate(self.docks):
            need(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", key.name))
            for other, (first, last) in self.docks[:index]:
                need(other.name != key.name or last < days[0] or days[1] < first)

    def count(self, day):
        return sum(not days or days[0] <= day <= days[1] for _, days in self.recipients)


class Trust:
    def __init__(self, root):
        self.roots, self.last = [root], None

    def take(self, data):
        keyring = Keyring(data)
        need(keyring.authority.text in self.roots, "wrong-root")
        keyring.note.verify(keyring.authority)
        if self.last:
            need(keyring.revision >= self.last.revision, "rollback")
            if keyring.revision == self.last.revision:
                need(keyring.note.text == self.last.note.text, "fork")
                return "known"
        successors = [keyring.successor.text] if keyring.successor else []
        self.roots, self.last = [keyring.authority.text, *successors], keyring
        return "taken"


# Section 4: entries

STRING, NUMBER = lambda v: type(v) is str, lambda v: type(v) is int and 0 <= v < 1 << 64
DIGEST = lambda v: type(v) is str and re.fullmatch(HEX, v)
RECEIPTS = lambda v: type(v) is list and all(
    type(r) is dict and STRING(r.get("bucket")) and STRING(r.get("evidence")) for r in v
)
PREVIOUS = lambda v: type(v) is dict and all(
    rule(v.get(name)) for name, rule in {"log": STRING, "size": NUMBER, "root": DIGEST}.items()
)
CLIP = {"clip": DIGEST}
EVENTS = {
    "started": {"dock": STRING, "dockseal": STRING, "?previous": PREVIOUS},
    "keyring": {"revision": NUMBER, "sha256": DIGEST},
    "sealed": CLIP | {"number": NUMBER, "size": NUMBER, "commitment": DIGEST, "?keyring": NUMBER},
    "stored": CLIP | {"receipts": RECEIPTS},
    "erased": CLIP | {"plaintext-seconds": NUMBER},
    "held": {"number": NUMBER, "reason": STRING, "?bucket": STRING},
    "forgotten": {"number": NUMBER},
    **{event: CLIP for event in ("gone", "changed", "damaged")},
    **{event: {} for event in ("acknowledged", "alive", "closed")},
}
NAMES = {"v", "at", "event", "log", "root", "evidence"}
NAMES |= {name.lstrip("?") for members in EVENTS.values() for name in members}


def read_entry(data):
    def once(pairs):
        names = [name for name, _ in pairs if name in NAMES]
        need(len(set(names)) == len(names))
        return dict(pairs)

    def no_constant(_):
        raise Refused("malformed")

    try:
        text = need(len(data) <= 8192) and data.decode("utf-8")
        entry = json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
        json.dumps(entry, ensure_ascii=False).encode("utf-8")
        need(type(entry) is dict and type(entry.get("v")) is int and entry["v"] == 1)
        need(STRING(entry.get("at")) and re.fullmatch(rf"{DAY}T{TIME}\.[0-9]{{3}}Z", entry["at"]))
        datetime.datetime.fromisoformat(entry["at"])
    except (ValueError, RecursionError):
        raise Refused("malformed") from None
    event = entry.get("event")
    need(STRING(event) and event in EVENTS)
    for name, rule in EVENTS[event].items():
        value = entry.get(name.lstrip("?"))
        need(value is None if name[0] == "?" and value is None else rule(value))
    return entry


def day_of(entry):
    return datetime.date.fromisoformat(entry["at"][:10])


# Sections 5 and 6: tiles, hashing, proofs


def parse_piece(path):
    """(level or "entries", index, width), or None."""
    number = r"((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
    match = re.fullmatch(f"tile/([0-5]|entries)/{number}", path)
    if not match or match[2].startswith("x000/"):
        return None
    index, width = int(re.sub(r"\D", "", match[2])), int(match[3] or 256)
    level = match[1] if match[1] == "entries" else int(match[1])
    at_least = (index * 256 + width) * 256 ** (0 if level == "entries" else level)
    return (level, index, width) if not (match[3] and width > 255) and at_least <= 1 << 48 else None


def piece_path(level, index, width):
    groups = re.findall("...", f"{index:0{-(-len(str(index)) // 3) * 3}d}")
    number = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{number}" + (f".p/{width}" if width < 256 else "")


def pieces(size):
    for level in ("entries", *range(6)):
        count = size >> 8 * (0 if level == "entries" else level)
        for index in range(-(-count // 256)):
            yield level, index, min(256, count - index * 256)


def node(left, right):
    return sha256(b"\x01" + left + right)


def root_of(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return node(root_of(leaves[:k]), root_of(leaves[k:]))


def climb(fn, sn, olds, r, path):
    """The walk that both proofs take: `olds` follows the nodes to the left alone."""
    for p in path:
        need(sn)
        if fn % 2 or fn == sn:
            olds, r = node(p, olds), node(p, r)
            while fn and not fn % 2:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0)
    return olds, r


def check_inclusion(leaf, index, size, root, path):
    need(index < size and climb(index, size - 1, leaf, leaf, path)[1] == root)


def check_consistency(old, old_root, new, new_root, proof):
    need(old <= new)
    if old in (0, new):
        return need(not proof and old_root == (new_root if old else sha256(b"")))
    fn, sn, proof = old - 1, new - 1, list(proof)
    while fn % 2:
        fn, sn = fn >> 1, sn >> 1
    first = old_root if fn == 0 else need(proof) and proof.pop(0)
    need(climb(fn, sn, first, first, proof) == (old_root, new_root))


def decode_bundle(data, width):
    entries = []
    while data:
        size = int.from_bytes(data[:2], "big")
        need(len(data) >= 2 + size)
        entries.append(data[2 : 2 + size])
        data = data[2 + size :]
    need(len(entries) == width)
    return entries


# Section 7: the audit. A bucket is {path: bytes}; findings are paths.


class Log:
    def __init__(self, bucket, folder, keyring, found):
        self.folder, self.keyring, self.pieces, self.heads = folder, keyring, {}, []
        self.dock = folder.split("/")[0]
        for path, data in bucket.items():
            name = path.removeprefix(folder + "/")
            if path != name and parse_piece(name):
                self.pieces[parse_piece(name)] = data
        for path, data in sorted(bucket.items()):
            name = path.removeprefix(folder + "/")
            try:
                if path != name and not parse_piece(name):
                    self.heads.append(self.head(name, data))
            except Refused:
                found.add(path)
        self.size, self.leaves = max(self.heads, key=lambda head: head[0], default=(0, []))

    def head(self, name, data):
        note = Note(data)
        lines = need(note.text.count("\n") >= 3) and note.text[:-1].split("\n")
        need(all(lines) and lines[0] == self.folder and re.fullmatch(DECIMAL, lines[1]))
        size = int(lines[1])
        need(size <= 1 << 48 and name in ("checkpoint", f"checkpoints/{size}"))
        both = (self.of_entries(size), self.of_tiles(size))
        root = unbase64(lines[2])
        found = need([leaves for leaves in both if leaves is not None and root_of(leaves) == root])
        day = self.last_day(size)
        for key, (first, last) in self.keyring.docks:
            if key.name == self.dock and (day is None or first <= day <= last):
                try:
                    note.verify(key)
                    return size, found[0]
                except Refused:
                    continue
        raise Refused("not-signed")

    def parts(self, level, size, decode):
        """Of each index the narrowest piece that is wide enough; None where one is wrong."""
        out = []
        for index in range(-(-size // 256)):
            width = min(256, size - index * 256)
            wide = [w for w in range(width, 257) if (level, index, w) in self.pieces]
            try:
                out += decode(self.pieces[level, index, need(wide)[0]], wide[0])[:width]
            except Refused:
                return None
        return out

    def of_entries(self, size):
        entries = self.parts("entries", size, decode_bundle)
        return None if entries is None else [sha256(b"\x00" + entry) for entry in entries]

    def of_tiles(self, size):
        def decode(data, width):
            need(len(data) == 32 * width)
            return [data[i : i + 32] for i in range(0, len(data), 32)]

        return self.parts(0, size, decode)

    def last_day(self, size):
        entries = self.parts("entries", size, decode_bundle)
        try:
            return day_of(read_entry(entries[-1])) if entries else None
        except Refused:
            return None

    def check(self, found):
        for piece in pieces(self.size):
            if piece not in self.pieces:
                found.add(f"{self.folder}/{piece_path(*piece)}")
        entries = {}
        for (level, index, width), data in self.pieces.items():
            each = 1 if level == "entries" else 256**level
            leaves = self.leaves[index * 256 * each : (index * 256 + width) * each]
            if len(leaves) < width * each:
                continue
            try:
                if level == "entries":
                    bundle = decode_bundle(data, width)
                    for at, (entry, leaf) in enumerate(zip(bundle, leaves), index * 256):
                        if sha256(b"\x00" + entry) == leaf:
                            entries[at] = entry
                    need([sha256(b"\x00" + entry) for entry in bundle] == leaves)
                else:
                    below = range(0, len(leaves), each)
                    need(data == b"".join(root_of(leaves[i : i + each]) for i in below))
            except Refused:
                found.add(f"{self.folder}/{piece_path(level, index, width)}")
        return [self.read(at, entries[at], found) for at in sorted(entries)]

    def read(self, at, entry, found):
        try:
            entry = read_entry(entry)
        except Refused:
            found.add(f"{self.folder}: entry {at} is not one of this version")
            return {"event": "unknown"}
        is_started = entry["event"] == "started" and entry["dock"] == self.dock
        if (at == 0) != is_started:
            found.add(self.folder)
        return entry

    def is_grown_from(self, size, root):
        return self.size >= size and root_of(self.leaves[:size]).hex() == root


def audit(bucket, keyring, today, remembered=None):
    found, known = set(), set()
    folders = {"/".join(path.split("/")[:3]) for path in bucket if re.match("[^/]+/log/", path)}
    logs = {folder: Log(bucket, folder, keyring, found) for folder in folders}
    for folder, log in logs.items():
        sealed = {}
        for entry in log.check(found):
            clip, previous = entry.get("clip", ""), entry.get("previous")
            path = f"{log.dock}/clips/{clip[:2]}/{clip}.age"
            if entry["event"] == "keyring" and f"keyrings/{entry['revision']}" in bucket:
                other = f"keyrings/{entry['revision']}"
                if sha256(Note(bucket[other]).text.encode()).hex() != entry["sha256"]:
                    found.add(other)
            elif previous and (before := logs.get(f"{log.dock}/log/{previous['log']}")):
                size, root = previous["size"], previous["root"]
                if before.size >= size and not before.is_grown_from(size, root):
                    found.add(before.folder)
            elif entry["event"] == "sealed":
                sealed[path] = entry
                known.add(path)
            elif entry["event"] == "stored" and path not in sealed:
                found.add(path)
            elif entry["event"] == "stored" and path in bucket:
                data, size = bucket[path], sealed[path]["size"]
                if (len(data), sha256(data).hex()) != (size, clip):
                    found.add(path)
            elif entry["event"] == "stored":
                if (today - day_of(sealed[path])).days <= keyring.retention:
                    found.add(path)
        if remembered and remembered["folder"] == folder:
            if not log.is_grown_from(remembered["size"], remembered["root"]):
                found.add(folder)
    clips = (path for path in bucket if re.match(r"[^/]+/clips/", path))
    return found | {path for path in clips if path not in known}


def read_bucket(folder):
    bucket = {}
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(".unfinished"):
                continue
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                bucket[os.path.relpath(path, folder)] = file.read()
    return bucket


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keyring", required=True, metavar="FILE")
    parser.add_argument("--root", required=True, metavar="KEY", help="the authority's public key")
    parser.add_argument("--today", metavar="DAY", type=datetime.date.fromisoformat)
    parser.add_argument("bucket", metavar="BUCKET", help="a folder")
    args = parser.parse_args()
    trust, today = Trust(args.root), args.today or datetime.datetime.now(datetime.UTC).date()
    try:
        with open(args.keyring, "rb") as file:
            trust.take(file.read())
        bucket = read_bucket(args.bucket)
        found = sorted(audit(bucket, trust.last, today))
    except (Refused, OSError) as error:
        print(f"second_verifier: error: {error}", file=sys.stderr)
        return 1
    print(*found, f"{len(found)} findings in {len(bucket)} objects", sep="\n")
    return 13 if found else 0


if __name__ == "__main__":
    sys.exit(main())
