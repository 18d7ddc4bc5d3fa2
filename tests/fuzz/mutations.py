"""Seeded mutations of valid files: of their bytes, and of what they hold."""

import copy
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml

TOKENS = (
    *(b"nan", b"inf", b"-inf", b"-1", b"0", b"1e308", b"1e39", b"99999999999999999999", b"null", b"true", b"[]", b"{}"),
    *(
        b"\x00",
        b"\x1b[2J",
        b"\n",
        b",",
        b'"',
        b"'",
        b"../",
        b"/etc/passwd",
        b"\xff\xfe",
        b"&a [*a]",
        b"!!python/name:os.system",
    ),
)
NUMBERS = (0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**6, 2**31, 2**63, 10**400, 0.5, -0.0, 1e39, 1e308, float("nan"), float("inf")),
    *(
        "",
        "a",
        "nose",
        "0",
        "96.0",
        "../x",
        "/etc/passwd",
        "\x1b[2J",
        "a\nb",
        "\x00",
        "x" * 5_000,
        "$\\frac{$",
        "[/red]",
    ),
    *([], {}, [[]], [1], [[1, 2], [3]], {"a": 1}, [None], ["a", 1], [0] * 999),
)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to eight changes of bytes, as damage, truncation or a hex editor makes them."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(changed) + 1)
        end = min(len(changed), place + rng.choice((1, 2, 4, 16, 256)))
        kind = rng.randrange(7)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place:end] = rng.randbytes(end - place)
        elif kind == 2:
            del changed[place:end]
        elif kind == 3:
            changed[place:place] = rng.choice(TOKENS)
        elif kind == 4:
            changed[place:place] = changed[place:end] * rng.choice((1, 2, 100))
        elif kind == 5:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) % 256**size
            changed[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif rng.random() < 0.2:
            del changed[place:]
    return bytes(changed)


def mutate_words(content: bytes, rng: random.Random) -> bytes:
    """A number or a word of a text in another's place."""
    words = content.replace(b",", b" , ").split(b" ")
    for _ in range(rng.choice((1, 1, 2, 4))):
        words[rng.randrange(len(words))] = rng.choice((*TOKENS, *words[:50]))
    return b" ".join(words).replace(b" , ", b",")


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """One to four values of nested lists and mappings changed, removed, repeated or exchanged."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(tree))
        if not places:
            return rng.choice(VALUES)
        owner, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del owner[key]
        elif kind == 1 and isinstance(owner, list):
            owner.insert(key, copy.deepcopy(owner[key]))
        elif kind == 2:
            other_owner, other = rng.choice(places)
            owner[key] = copy.deepcopy(other_owner[other])
        elif kind == 3 and isinstance(owner, dict):
            owner[rng.choice(("", "x", "\x1b", *map(str, owner)))] = owner.pop(key)
        elif kind == 4 and isinstance(owner[key], int | float) and not isinstance(owner[key], bool):
            factor = rng.choice((-1, 1.5, 1e6))
            owner[key] = factor * owner[key] if abs(owner[key]) < 1e300 else -owner[key]
        else:
            owner[key] = copy.deepcopy(rng.choice(VALUES))
    return tree


def _places(node: Any) -> Any:
    """Each entry of nested lists and mappings, with what holds it."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(entries):
        yield node, key
        yield from _places(value)


def json_tree(content: bytes, rng: random.Random) -> bytes:
    return json.dumps(mutate_tree(json.loads(content), rng)).encode()


def yaml_tree(content: bytes, rng: random.Random) -> bytes:
    return yaml.safe_dump(mutate_tree(yaml.safe_load(content), rng)).encode()


def pickle_tree(content: bytes, rng: random.Random) -> bytes:
    """The plain values of a pickle; numpy arrays in it are values."""
    return pickle.dumps(mutate_tree(pickle.loads(content), rng), protocol=rng.choice((0, 2, 4)))


def mutate_h5(path: Path, rng: random.Random) -> None:
    """Members of an HDF5 file removed, replaced, resized, linked elsewhere, and attributes changed, in place."""
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 2, 3))):
            names: list[str] = []
            file.visit(names.append)
            if not names:
                return
            name = rng.choice(names)
            _change_member(file, name, rng)


def _change_member(file: Any, name: str, rng: random.Random) -> None:
    member, kind = file[name], rng.randrange(9)
    attributes = sorted(member.attrs)
    if kind == 0:
        del file[name]
    elif kind == 1 and attributes:
        del member.attrs[rng.choice(attributes)]
    elif kind == 2 and attributes:
        member.attrs[rng.choice(attributes)] = rng.choice(
            (b"", b"\x80\x04N.", 7, "x" * 999, np.zeros(9), np.nan, np.inf)
        )
    elif kind == 3:
        other = rng.choice((h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink("/")))
        del file[name]
        file[name] = other
    elif kind == 4:
        names: list[str] = []
        file.visit(names.append)
        other = file[rng.choice(names)]
        del file[name]
        file[name] = other
    elif isinstance(member, h5py.Dataset):
        _change_values(file, name, member, rng)


def _change_values(file: Any, name: str, member: Any, rng: random.Random) -> None:
    kind = rng.randrange(5)
    if kind == 0 and 0 < member.size <= 10_000:  # an array of a million chunks takes gigabytes to write
        values = np.array(member[()])
        flat = values.reshape(-1)
        fields = flat.dtype.names
        target = flat[rng.choice(fields)].reshape(-1) if fields else flat
        if target.dtype.kind in "iuf" and target.size:
            value = (
                rng.choice((np.nan, np.inf, -1, 0, 1e39, 2**31, 255, 10**6))
                if target.dtype.kind == "f"
                else rng.choice((-1, 0, 127, 2**31 - 1))
            )
            with np.errstate(all="ignore"):
                target[rng.randrange(target.size)] = np.array(value).astype(target.dtype)
            member[...] = values
        return
    del file[name]
    if kind == 1:
        file.create_dataset(name, shape=(rng.choice((1, 3, 10**6, 2**40)), 3), dtype="f8", chunks=(1, 3))
    elif kind == 2:
        file.create_dataset(
            name, data=np.zeros(rng.choice(((), (1,), (2, 2), (0,))), rng.choice(("i8", "f4", "S4", "u1", "c16")))
        )
    elif kind == 3:
        file.create_dataset(name, data=rng.choice(("text", b"bytes")))
    else:
        file.create_group(name)


def checkpoint_tree(content: Path, rng: random.Random, save: Callable[[Any], None]) -> None:
    """The nested values of a checkpoint, tensors among them."""
    tree = torch.load(content, weights_only=True)
    if rng.random() < 0.3:
        name = rng.choice(sorted(tree["state_dict"]))
        weight = tree["state_dict"][name]
        tree["state_dict"][name] = rng.choice(
            (
                weight.double(),
                weight.reshape(-1)[:0],
                weight.flatten(),
                weight * float("nan"),
                weight.expand(3, *weight.shape),
                None,
                "x",
            )
        )
    if rng.random() < 0.5:
        described = tree["dlcpose"]
        described["config"] = yaml.safe_dump(mutate_tree(yaml.safe_load(described["config"]), rng))
    else:
        weights = tree.pop("state_dict")
        tree = mutate_tree(tree, rng)
        if isinstance(tree, dict):
            tree.setdefault("state_dict", weights)
    save(tree)
