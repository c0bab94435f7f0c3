"""How people name one picture of several, and two of them: "the second photo", "pic 2", "the last one", "1 and 3"."""

from __future__ import annotations

from random import Random

_ORDINALS = (("first", "1st"), ("second", "2nd"), ("third", "3rd"), ("fourth", "4th"))
_SPELLED = ("one", "two", "three", "four")
_NOUNS = ("photo", "picture", "image", "pic", "one", "photo", "picture", "image", "shot", "selfie", "portrait",
          "photograph", "img")
_THINGS = ("image", "picture", "photo", "pic", "image", "picture", "photo", "img", "foto", "number", "no.",
           "image no.", "photo number", "picture number", "pic number")


def name_picture(index: int, count: int, rng: Random) -> str:
    """A name for picture `index` (1-based) of `count`, one that nobody could take for another of them."""
    drawn = rng.random()
    if drawn < 0.12:
        return f"image_{index}"
    if drawn < 0.40:
        return _numbered(index, rng)
    if drawn < 0.55:
        special = _by_place(index, count, rng)
        if special:
            return special
    noun = rng.choice(_NOUNS)
    word = _ORDINALS[index - 1][0] if rng.random() < 0.75 else _ORDINALS[index - 1][1]
    owner = "the" if noun == "one" else "my"
    return rng.choice([f"the {word} {noun}", f"the {word} {noun}", f"the {word} {noun}", f"the {word}",
                       f"{word} {noun}", f"{owner} {word} {noun}"])


def name_two(first: int, second: int, count: int, rng: Random) -> str:
    """A name for two pictures together ("photos 1 and 3", "the first and the third one")."""
    drawn = rng.random()
    joint = rng.choice([" and ", " and ", " and ", " & ", " + "])
    if drawn < 0.08:
        joint = rng.choice([joint, " vs ", " versus ", " against ", " with "])
        names = rng.choice([("1", "2", "3", "4"), _SPELLED, [word for word, _ in _ORDINALS]])
        return f"{names[first - 1]}{joint}{names[second - 1]}"
    if drawn < 0.3:
        return f"{rng.choice(['images', 'pictures', 'photos', 'pics', 'faces'])} {first}{joint}{second}"
    if drawn < 0.4:
        return f"image_{first}{joint}image_{second}"
    if drawn < 0.6:
        noun = rng.choice(("photo", "picture", "image", "pic", "one"))
        return f"the {_ORDINALS[first - 1][0]}{joint}the {_ORDINALS[second - 1][0]} {noun}"
    if drawn < 0.65 and (first, second) == (count - 1, count) and count > 2:
        return rng.choice(["the last two", "the last two pictures", "the last two photos"])
    if drawn < 0.7 and (first, second) == (1, 2) and count > 2:
        return rng.choice(["the first two", "the first two pictures", "the first two photos"])
    if drawn < 0.8:
        thing = rng.choice(("image", "picture", "photo", "pic", "img"))
        return f"{thing} {first}{joint}{thing} {second}"
    return f"{name_picture(first, count, rng)}{joint}{name_picture(second, count, rng)}"


def name_all(count: int, rng: Random) -> str:
    """A name for all the pictures of a conversation."""
    names = ["all pictures", "all the photos", "all of them", "each picture", "every photo", "each image", "each one",
             "all images", "every picture", "all the pictures", "each of them", "all my photos", "every one of them"]
    if count == 2:
        names += ["both pictures", "both photos", "both", "both images", "both of them", "these two pictures", "both"]
    else:
        names += [f"all {_SPELLED[count - 1]}", f"all {count} pictures", f"these {_SPELLED[count - 1]} photos",
                  f"all {_SPELLED[count - 1]} pictures"]
    return rng.choice(names)


def _numbered(index: int, rng: Random) -> str:
    thing = rng.choice(_THINGS)
    return rng.choice([f"{thing} {index}", f"{thing} {index}", f"{thing} {index}", f"{thing} {_SPELLED[index - 1]}",
                       f"#{index}", f"{thing.rstrip('.')}{index}" if " " not in thing else f"{thing} {index}",
                       f"{thing} #{index}" if thing[0] != "n" else f"{thing} {index}"])


def _by_place(index: int, count: int, rng: Random) -> str | None:
    noun = rng.choice(_NOUNS)
    if count == 2:
        side = ("left", "right")[index - 1]
        names = [f"the {side} {noun}", f"the {side} {noun}", f"the {noun} on the {side}"]
        names += [f"the {('first', 'other')[index - 1]} {noun}", "the other one" if index == 2 else "the first one"]
        names += [f"the last {noun}", f"the latter {noun}"] if index == 2 else [f"the former {noun}"]
        return rng.choice(names)
    if count > 2 and index == count:
        return rng.choice([f"the last {noun}", f"the last {noun}", "the last", f"the final {noun}", f"last {noun}"])
    if count == 3 and index == 2:
        return rng.choice([f"the middle {noun}", "the middle one", f"the {noun} in the middle"])
    return None
