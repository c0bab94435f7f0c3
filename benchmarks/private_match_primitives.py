"""Part of `private_match.py`: one operation on ciphertexts at a time, beside phe and pypaillier, all on one core."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from private_match_timing import duration, installed, interleaved, pinned, show_table, three

from visagent.tools.private_match.fixed_base import FixedBase
from visagent.tools.private_match.paillier import generate_key
from visagent.tools.private_match.threshold_key import combine, split_key

Operations = dict[str, tuple[Callable[[], object], int]]
"""By name: what to run, and how many operations that is."""

LONG = "encrypt, exponent of n/2 bits"
WITH_LONG = {"pypaillier": LONG}
"""Whose exponents are that long anyway, so that both lines compare with it."""


def ours(bits: int, batch: int) -> Operations:
    """Made ready, so that only the operation is timed."""
    key = generate_key(bits)
    public, (one, other) = key.public, split_key(key)
    numbers = [secrets.randbelow(1 << 32) for _ in range(batch)]
    factors = _int8(batch)
    ciphertexts = public.encrypt_all(numbers)
    shifted = ciphertexts[1:] + ciphertexts[:1]
    long_powers = FixedBase(public.base, public.square, bits // 2)

    def encrypt_long() -> None:
        for number in numbers:
            mask = long_powers.power(secrets.token_bytes(long_powers.exponent_bytes))
            _ = (1 + number * public.n) * mask % public.square

    some = ciphertexts[:4]
    return {
        "encrypt": (lambda: public.encrypt_all(numbers), batch),
        LONG: (encrypt_long, batch),
        "decrypt": (lambda: [key.decrypt(value) for value in ciphertexts], batch),
        "decrypt, both servers and combine": (
            lambda: [combine(public, one.partial(value), other.partial(value)) for value in some], len(some)),
        "add": (lambda: [public.add(a, b) for a, b in zip(ciphertexts, shifted, strict=True)], batch),
        "times an int8": (lambda: [public.scale(a, b) for a, b in zip(ciphertexts, factors, strict=True)], batch)}


def of_phe(bits: int, batch: int) -> Operations:
    """The same with phe."""
    import phe

    public, key = phe.generate_paillier_keypair(n_length=bits)
    numbers = [secrets.randbelow(1 << 32) for _ in range(batch)]
    factors = _int8(batch)
    few = numbers[:4]
    ciphertexts = [public.encrypt(number) for number in numbers]
    shifted = ciphertexts[1:] + ciphertexts[:1]
    return {
        "encrypt": (lambda: [public.encrypt(number) for number in few], len(few)),
        "decrypt": (lambda: [key.decrypt(value) for value in ciphertexts[:8]], 8),
        "add": (lambda: [a + b for a, b in zip(ciphertexts, shifted, strict=True)], batch),
        "times an int8": (lambda: [a * b for a, b in zip(ciphertexts, factors, strict=True)], batch)}


def of_pypaillier(bits: int, batch: int) -> Operations:
    """The same with pypaillier's batch functions, for which one core must be all there is."""
    import paillier

    public, key = paillier.generate_keypair(bits)
    numbers = [secrets.randbelow(1 << 32) for _ in range(batch)]
    factors: Any = _int8(batch)
    ciphertexts = paillier.encrypt_integers(public, numbers)
    return {
        "encrypt": (lambda: paillier.encrypt_integers(public, numbers), batch),
        LONG: (lambda: paillier.encrypt_integers(public, numbers), batch),
        "decrypt": (lambda: paillier.decrypt_many(key, ciphertexts[:8]), 8),
        "add": (lambda: paillier.add_many(public, ciphertexts), batch - 1),
        "times an int8": (lambda: paillier.multiply_integers_public(public, ciphertexts, factors), batch)}


LIBRARIES: dict[str, tuple[str | None, Callable[[int, int], Operations]]] = {
    "visagent": (None, ours), "phe": ("phe", of_phe), "pypaillier": ("paillier", of_pypaillier)}


def measure(bits: int, rounds: int, keys: int, batch: int) -> dict[str, dict[str, float]]:
    """Seconds of an operation by library, on the core that this process is pinned to."""
    libraries = [name for name, (module, _) in LIBRARIES.items() if module is None or installed(module)]
    operations = {name: LIBRARIES[name][1](bits, batch) for name in libraries}
    found: dict[str, dict[str, float]] = {name: {} for name in libraries}
    for name in libraries:
        found[name]["make a key"] = interleaved({"": _keygen(name, bits)}, keys if name == "pypaillier" else
                                                4 * keys)[""]
    public = generate_key(bits).public
    started = time.perf_counter()
    public.mask()
    found["visagent"]["table for encrypting, once a key"] = time.perf_counter() - started
    for operation in operations["visagent"]:
        tasks = {name: some[operation] for name, some in operations.items() if operation in some}
        medians = interleaved({name: run for name, (run, _) in tasks.items()}, rounds)
        for name, (_, count) in tasks.items():
            found[name][operation] = medians[name] / count
    return found


def show(sizes: list[int], rounds: int, keys: int, batch: int) -> None:
    """Measure and print."""
    for bits in sizes:
        found = pinned(measure, bits, rounds, keys, batch)
        mine = found["visagent"]
        rows = []
        for operation in mine:
            row = [operation, duration(mine[operation])]
            for name in ("phe", "pypaillier"):
                theirs = found.get(name, {}).get(operation)
                row += ["-", "-"] if theirs is None else [duration(theirs), f"{three(theirs / mine[operation])}x"]
            rows.append(row)
        print(f"\n### One operation, {bits} bits, one core\n")
        show_table(["operation", "visagent", "phe", "phe / visagent", "pypaillier", "pypaillier / visagent"], rows)
        for name, (module, _) in LIBRARIES.items():
            if module is not None and name not in found:
                print(f"{name} is not installed and left out.\n")


def _keygen(name: str, bits: int) -> Callable[[], object]:
    if name == "visagent":
        return lambda: generate_key(bits)
    if name == "phe":
        import phe

        return lambda: phe.generate_paillier_keypair(n_length=bits)
    import paillier

    return lambda: paillier.generate_keypair(bits)


def _int8(count: int) -> list[int]:
    """Of either sign, and not 0, which pypaillier refuses."""
    return [secrets.choice((-1, 1)) * (1 + secrets.randbelow(127)) for _ in range(count)]
