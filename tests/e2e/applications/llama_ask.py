"""Asks the server again and again, until a file is there: llama_ask.py FILE"""

import json
import os
import sys
import urllib.request

from steps import step


def ask(prompt):
    with urllib.request.urlopen("http://127.0.0.1:8080/", data=prompt) as reply:
        return json.load(reply)["tokens"]


# An answer that is no success is an exception, and the end; so is one without a token.
while not os.path.exists(sys.argv[1]):
    tokens = ask(b"hello")
    if tokens == 0:
        sys.exit("an answer without a token")
    step("answered", tokens=tokens)
step("done", passed=True)
