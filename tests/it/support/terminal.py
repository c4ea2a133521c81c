"""Runs a command on a terminal of its own: python terminal.py PROMPT ANSWER COMMAND…

Types ANSWER each time PROMPT is shown. Prints all that the terminal showed; exits as COMMAND did.
"""

import os
import pty
import sys

prompt, answer, *command = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
shown, seen = b"", 0
while True:
    try:
        block = os.read(terminal, 4096)
    except OSError:  # How Linux says that nobody has the terminal open any more.
        break
    if not block:
        break
    shown += block
    if shown.count(prompt.encode()) > seen:
        seen += 1
        os.write(terminal, answer.encode() + b"\n")
_, status = os.waitpid(child, 0)
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(status))
