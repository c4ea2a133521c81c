"""Opens an age file with pyrage: python open.py IDENTITY IN OUT"""

import sys

import pyrage

identity_file, source, target = sys.argv[1:]
with open(identity_file, encoding="ascii") as lines:
    keys = [line.strip() for line in lines if line.startswith("AGE-SECRET-KEY-")]
identities = [pyrage.x25519.Identity.from_str(key) for key in keys]
pyrage.decrypt_file(source, target, identities)
