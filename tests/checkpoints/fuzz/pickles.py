"""Mutations of pickles, opcode by opcode: left out, doubled, moved, with other arguments, and foreign ones."""

import pickletools
from random import Random

_SNIPPETS = (
    *(b"0", b"1", b"2", b"2222", b"(", b")", b"]", b"}", b"N", b"\x88", b"\x8f", b"t", b"e", b"u", b"b", b"R", b"\x81"),
    *(b"\x85", b"\x86", b"\x87", b"\x94", b"q\x00", b"h\x00", b"h\x01", b"j\xff\xff\xff\xff", b"r\xff\xff\xff\xff"),
    *(b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\xff", b"\x8a\xff" + b"\xff" * 255, b"G\x7f\xf8" + bytes(6), b"F1e999\n"),
    *(
        b"cos\nsystem\n",
        b"cbuiltins\nlist\n",
        b"ctorch\nFloatStorage\n",
        b"ccollections\nOrderedDict\n",
        b"Q",
        b"Pid\n",
    ),
    *(
        b"I" + b"9" * 4000 + b"\n",
        b"L" + b"9" * 5000 + b"L\n",
        b"\x8b\xff\xff\xff\x7f",
        b"X\xff\xff\xff\xff",
        b"C\x04abcd",
    ),
    *(b"\x8d" + b"\xff" * 8, b"\x96" + b"\xff" * 8, b"\x8e" + bytes(7) + b"\x01", b"\x97", b"\x98", b"V\\ud800\n"),
    *(
        b"X\x03\x00\x00\x00\xed\xa0\x80",
        b"\x8c\x0bglobal_step",
        b"cnumpy\ndtype\n",
        b"c__builtin__\neval\n",
        b"]2a",
        b"]q\x00h\x00a",
        b".",
    ),
)
_INTEGERS = (0, 1, 2, 127, 255)


def pickle_mutated(draw: Random, content: bytes, count: int = 1) -> tuple[bytes, str]:
    """Return changed pickles: of the first `count` in these bytes one is changed, what follows them stays."""
    begin = 0
    runs: list[list[bytes]] = []
    for _ in range(count):
        steps = _steps(content[begin:])
        if not steps:
            break
        runs.append(steps)
        begin += sum(map(len, steps))
    if not runs:
        return content, "no pickle"
    chosen = draw.choices(runs, [len(steps) for steps in runs])[0]
    what = [_change(draw, chosen) for _ in range(draw.choice((1, 1, 2, 4)))]
    return b"".join(b"".join(steps) for steps in runs) + content[begin:], f"pickle {', '.join(what)}"


def _steps(content: bytes) -> list[bytes]:
    """Return a pickle's opcodes with their arguments; [] where it is none."""
    try:
        places = [at for _, _, at in pickletools.genops(content) if at is not None]
    except ValueError:
        return []
    return [content[at:end] for at, end in zip(places, [*places[1:], places[-1] + 1], strict=True)]


def _change(draw: Random, steps: list[bytes]) -> str:
    place = draw.randrange(len(steps))
    kind = draw.choice(
        ("argument", "argument", "gone", "twice", "swapped", "snippet", "snippet", "repeated", "opcode", "moved")
    )
    step = steps[place]
    if kind == "argument" and len(step) > 1:
        steps[place] = _argument(draw, step)
    elif kind == "gone":
        steps[place] = b""
    elif kind == "twice":
        steps[place] = step * 2
    elif kind == "swapped":
        other = draw.randrange(len(steps))
        steps[place], steps[other] = steps[other], step
    elif kind == "repeated":
        length = draw.choice((1, 1, 3, 10))
        run = b"".join(steps[place : place + length])
        steps[place] = run * (draw.choice((3, 3, 100, 100, 5000, 5000, 5000, 300_000)) if len(run) < 40 else 2)
    elif kind == "opcode":
        steps[place] = bytes([draw.randrange(256)]) + step[1:]
    elif kind == "moved":
        steps.insert(draw.randrange(len(steps)), steps.pop(place))
    else:
        steps[place] = draw.choice(_SNIPPETS) * draw.choice((1, 1, 1, 2, 2, 1000, 1000, 50_000)) + step
    return f"{kind} {step[:20]!r} at step {place}"


def _argument(draw: Random, step: bytes) -> bytes:
    """Return an opcode with another argument: a number at its extremes, a text changed or longer than it says."""
    code, argument = step[:1], bytearray(step[1:])
    if argument.endswith(b"\n"):
        words = bytes(argument[:-1])
        return code + draw.choice((words[::-1], b"", words * 2, b"-1", b"9" * 30, b"\xff" + words)) + b"\n"
    if code in b"KMJ\x8aG" or draw.random() < 0.5:
        place = draw.randrange(len(argument))
        argument[place] = draw.choice((*_INTEGERS, argument[place] ^ (1 << draw.randrange(8))))
        return code + bytes(argument)
    width = {b"X": 4, b"T": 4, b"B": 4, b"\x8d": 8, b"\x8e": 8, b"\x96": 8, b"\x8b": 4}.get(code, 1)
    if draw.random() < 0.5:
        text = draw.choice((b"", b"x", b"global_step", b"\xff\xfe", bytes(argument[width:]) * 2, b"state_dict"))
        return code + len(text).to_bytes(width, "little")[:width] + text
    lie = draw.choice((0, 1, len(argument), (1 << 8 * width) - 1, (1 << 8 * width - 1) - 1)) % (1 << 8 * width)
    return code + lie.to_bytes(width, "little") + bytes(argument[width:])
