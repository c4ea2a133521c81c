"""Encrypts with pyrage: python encrypt.py RECIPIENT IN OUT"""

import sys

import pyrage

recipient, source, target = sys.argv[1:]
pyrage.encrypt_file(source, target, [pyrage.x25519.Recipient.from_str(recipient)])
