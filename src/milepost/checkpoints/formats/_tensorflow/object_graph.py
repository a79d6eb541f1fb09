"""The object graph of a TF 2 checkpoint: which variables are an optimizer's own, and a weight's name without detours.

TensorFlow keys a variable by the shortest way to it.  Keras 3 tracks a model's variables in its optimizer too, and a
SavedModel of Keras 2 has a list of all its variables: a kernel may stand under `optimizer/_trainable_variables/0`, or
`variables/3`.  Its name here is the shortest way through neither, which is its key in a checkpoint without the two.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from milepost._internal.bounded import COUNT_LIMIT
from milepost._internal.budget import charge
from milepost.checkpoints._codecs.protobuf import Message
from milepost.checkpoints.formats._tensorflow.names import COUNTERS
from milepost.checkpoints.formats._tensorflow.slices import Where
from milepost.errors import Corrupt

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

_SETTINGS = {"learning_rate", "_learning_rate", "_variables", "decay", "beta_1", "momentum"}
_WRAPPED = "inner_optimizer"
_KERAS = "keras_api"
_LISTS = {"variables", "trainable_variables", "non_trainable_variables", _KERAS}
"""What Keras 2 tracks beside a model's and a layer's own parts when it writes a SavedModel."""
_NAME_LIMIT = 4096
_PIECE = 150  # bytes of a child or a key of an object


@dataclass(frozen=True, slots=True)
class TrackedName:
    """What the graph says of a key: the variable's name, whether only an optimizer leads to it, its TF 1 name."""

    name: str
    optimizer: bool
    full_name: str


@dataclass(frozen=True, slots=True)
class _Node:
    children: tuple[tuple[int, str], ...]
    keys: tuple[tuple[str, str], ...]
    is_optimizer: bool
    lists: frozenset[str]


def plain_name(key: str) -> str:
    """Return a key without its mark of a variable's value."""
    return key.removesuffix(VALUE)


def names_by_key(graph: memoryview, where: Where) -> dict[str, TrackedName]:
    """Return the names in a serialised TrackableObjectGraph by checkpoint key; `Corrupt` where it is damaged."""
    nodes = _nodes(graph, where)
    parents, listed = _parents(nodes)
    inner: dict[int, dict[str, int]] = {}
    found: dict[str, TrackedName] = {}
    for number, node in enumerate(nodes):
        for key, full_name in node.keys:
            name = plain_name(key)
            reached = number in parents
            if reached and number not in listed and key.endswith(VALUE) and _makes_a_detour(nodes, name, inner):
                name = _way(parents, number) or name
            found[key] = TrackedName(name, not reached, full_name)
    return found


def _nodes(graph: memoryview, where: Where) -> list[_Node]:
    pieces = Message(graph, where).messages(1)
    if len(pieces) > COUNT_LIMIT:
        raise Corrupt(f"{where()}: {len(pieces):,} objects, at most {COUNT_LIMIT:,} are read")
    nodes = [_node(piece, where) for piece in pieces]
    for node in nodes:
        if any(not 0 <= number < len(nodes) for number, _ in node.children):
            raise Corrupt(f"{where()}: an object names another that is not there")
    return nodes


def _node(piece: memoryview, where: Where) -> _Node:
    message = Message(piece, where)
    children = tuple(
        (child.integer(1), child.text(2)) for child in (Message(part, where) for part in message.messages(1))
    )
    keys = tuple((item.text(3), item.text(2)) for item in (Message(part, where) for part in message.messages(2)))
    charge(made=_PIECE * (2 + len(children) + len(keys)), nodes=1 + len(children) + len(keys))
    names = {name for _, name in children}
    counts = bool(names.intersection(COUNTERS)) and bool(names & _SETTINGS)
    lists = frozenset(names & _LISTS if _KERAS in names else ())
    return _Node(children, keys, bool(message.messages(3)) or counts or _WRAPPED in names, lists)


def _parents(nodes: Sequence[_Node]) -> tuple[dict[int, tuple[int, str]], set[int]]:
    """Return from where each object is reached without an optimizer, and as what; and which are reached by lists alone.

    Breadth first, as TensorFlow goes; what Keras lists is gone through when all else is.
    """
    parents = {0: (-1, "")} if nodes else {}
    listed: set[int] = set()
    waiting, later = deque(parents), deque[tuple[int, int, str]]()
    while waiting or later:
        if waiting:
            number = waiting.popleft()
            children = [(number, child, local) for child, local in nodes[number].children]
            later.extend(row for row in children if row[2] in nodes[number].lists)
            ways = [row for row in children if row[2] not in nodes[number].lists]
        else:
            ways = [later.popleft()]
        for number, child, local in ways:
            if child not in parents and not nodes[child].is_optimizer:
                parents[child] = number, _escaped(local)
                waiting.append(child)
                if number in listed or local in nodes[number].lists:
                    listed.add(child)
    return parents, listed


def _way(parents: Mapping[int, tuple[int, str]], number: int) -> str | None:
    """Return the name of an object by the way to it; None where that is longer than names are."""
    pieces: list[str] = []
    length = 0
    while number > 0:
        number, local = parents[number]
        pieces.append(local)
        length += len(local) + 1
        if length > _NAME_LIMIT:
            break
    charge(made=length, nodes=len(pieces))
    if length > _NAME_LIMIT:
        return None
    return "/".join(reversed(pieces))


def _makes_a_detour(nodes: Sequence[_Node], name: str, inner: dict[int, dict[str, int]]) -> bool:
    """Return whether a name's way leads through an optimizer or a list; `inner` keeps children by name for later."""
    at = 0
    for local in name.split("/"):
        if at not in inner:
            inner[at] = {_escaped(called): child for child, called in nodes[at].children}
        if local not in inner[at]:
            return False
        if local in nodes[at].lists:
            return True
        at = inner[at][local]
        if nodes[at].is_optimizer:
            return True
    return False


def _escaped(local: str) -> str:
    return local.replace(".", "..").replace("/", ".S")
