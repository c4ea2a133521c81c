"""Encrypts with pyrage: python encrypt.py RECIPIENT IN OUT"""

import sys

import pyrage

recipient, source, target = sys.argv[1:]
kinds = {"age1tagpq1": pyrage.tagpq, "age1tag1": pyrage.tag}
kind = next((kinds[prefix] for prefix in kinds if recipient.startswith(prefix)), pyrage.x25519)
pyrage.encrypt_file(source, target, [kind.Recipient.from_str(recipient)])
