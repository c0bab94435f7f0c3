"""Pura's own protocols on ciphertexts: slow, exact, and the measure for the faster ways.

The *leader* holds the ciphertexts, the *helper* the other half of the key. The leader masks what it sends; the helper
decrypts the masked value together with the leader's part, computes on it in the clear, and returns fresh ciphertexts.
Formulas are those of the SOCI and SOCI+ code of Pura's authors; what the paper's listings look like was not to be
found, so squared distances, minimum with identity and delivery are built from these parts.
"""
