"""The proof that a recording is exact: conversations recorded from the running server under load, then run again.

python -m tests.proof                  record at least 200 conversations, replay them, exit 1 on any divergence
python -m tests.proof record-corpus    record the few conversations anew that every test run replays
"""
