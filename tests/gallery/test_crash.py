"""Killed in the middle of enrolling and forgetting: nothing acknowledged is lost, nothing half-written is there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from visagent.gallery import Gallery
from visagent.gallery.database import Location, connect
from visagent.vision.encoder import EmbeddingContract, of_length_one

OPERATIONS = 200
WORKER = '''
import io
import os
import sys
import numpy as np
from pathlib import Path
from PIL import Image
from visagent.gallery import Gallery
from visagent.gallery.database import Location
from visagent.gallery.records import NewSample
from visagent.vision.encoder import EmbeddingContract


def say(line):
    # One write: where PYTHONUNBUFFERED is set, print writes word by word, and a kill would tear the line.
    os.write(1, f"{line}\\n".encode())

contract = EmbeddingContract(model="made-up", digest="0" * 16, dimension=64, alignment="none", preprocessing="none")
first, seed = int(sys.argv[2]), int(sys.argv[3])
with Gallery(Location(Path(sys.argv[1])), contract) as gallery:
    known = [person.card.name for person in gallery.people()]
    for number in range(first, LAST):
        draw = np.random.default_rng([seed, number])
        if known and draw.random() < 0.4:
            name = known.pop(int(draw.integers(len(known))))
            say(f"begin forget {name}")
            gallery.forget(name)
        else:
            name = f"person-{number}"
            samples = [NewSample(v / np.linalg.norm(v), f"{name} {k}") for k, v in
                       enumerate(draw.standard_normal((3, 64)).astype(np.float32))]
            file = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (100, 160, 3), np.uint8)).save(file, "JPEG")
            say(f"begin enrol {name}")
            gallery.enrol(name, samples, purpose="test", consent="none",
                          thumbnail=file.getvalue() if number % 2 else None)
            known.append(name)
        say("done")
'''.replace("LAST", str(OPERATIONS))


@pytest.mark.slow
def test_killed_at_random_points_of_200_operations(tmp_path: Path, contract: EmbeddingContract) -> None:
    folder, draw = tmp_path / "gallery", random.Random(11)
    there: set[str] = set()
    done = kills = 0
    while done < OPERATIONS:
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(done), "3"], text=True,
                                  stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert worker.stdout is not None
        act = name = None
        last = draw.randint(1, 60)
        for lines, line in enumerate(worker.stdout, 1):
            words = line.split()
            if words[0] == "begin":
                act, name = words[1], words[2]
            else:
                done += 1
                assert name is not None
                there.add(name) if act == "enrol" else there.discard(name)
                act = name = None
            if lines >= last:
                # Somewhere within the operation that runs now, or just after the last one.
                time.sleep(draw.choice((0.0, 0.0005, 0.001, 0.002)))
                break
        worker.send_signal(signal.SIGKILL)
        rest = worker.stdout.read().split("\n")
        worker.stdout.close()
        worker.wait()
        for line in rest:
            words = line.split()
            if words[:1] == ["begin"]:
                act, name = words[1], words[2]
            elif words[:1] == ["done"]:
                done += 1
                there.add(str(name)) if act == "enrol" else there.discard(str(name))
                act = name = None
        kills += 1
        there = check(folder, contract, there, act, name)
        if name is not None:
            done += 1  # it took place or it did not; the next process goes on with the next operation
    assert kills >= 5


def check(folder: Path, contract: EmbeddingContract, there: set[str], act: str | None, name: str | None) -> set[str]:
    """The gallery holds what was acknowledged, whole; what ran when the kill came, wholly or not at all."""
    engine = connect(Location(folder))
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    engine.dispose()
    with Gallery(Location(folder), contract) as gallery:
        found = {person.card.name for person in gallery.people()}
        allowed = [there] if name is None else [there | {name}, there - {name}]
        assert found in allowed, (act, name, found ^ there)
        assert all(person.samples == 3 for person in gallery.people())
        for person in gallery.people():  # opening the picture shows that it is whole
            had_picture = int(person.card.name.removeprefix("person-")) % 2 == 1
            assert (gallery.thumbnail(person.card.name) is not None) == person.has_thumbnail == had_picture
        index = gallery.index()
        truth = list(gallery.templates())
        assert index.samples == {sample for sample, _, _ in truth}
        assert sorted(index.people) == sorted({person for _, person, _ in truth})
        for identity in index.people[:20]:
            mean = of_length_one(np.sum([one for _, owner, one in truth if owner == identity], axis=0)[None])
            match = index.search(mean, 1)[0][0]
            assert (match.person, match.score) == (identity, pytest.approx(1, abs=1e-5))
        assert all(np.isfinite(embedding).all() for _, _, embedding in truth)
    return found
