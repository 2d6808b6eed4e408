"""Fuzzing through HTTP: `python -m tests.fuzzing --tokens 100000`.

A real server of each codec is asked with spoilt tokens, and with junk in every other place that a
client can write to. Each answer is checked; that of a token is known before it is asked for.
"""
