"""Recognition over templates that no server sees: Pura (arXiv:2505.15476), and two faster ways to the same answer.

An organisation holds the people's templates and all keys. It gives each of two servers one half of a secret, and may
then go offline. A person's face becomes a vector of small integers on the person's own machine; each server gets one
message about it and gives one answer back, and only the person can put the two answers together. docs/
private-recognition.md says who learns what.

```
arithmetic   paillier, fixed_base, threshold_key, packing       the cryptosystem
             quantise                                           faces as small integers
             randomness, comparison, tournament                 additive shares, and which is smallest
ways         reference/, packed, shared                         from an encrypted gallery to shares of the answer
parties      authority, server, client                          three roles, each with its own folder
between      messages, channel, ledger                          what is sent, how, and that nothing is used twice
```
"""
