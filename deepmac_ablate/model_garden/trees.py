"""Objects, their parts by name and the tensors at the ends: in a checkpoint, and in our model.

A checkpoint's tensors have names, but those are only one of the ways from the root to each. The
graph of objects that is stored beside them has all ways, and is the same whether a trainer, a bare
model or a SavedModel was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from deepmac_ablate.errors import UserError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


class Tree(Protocol):
    """A way to walk from objects to their parts; what a node is, only the tree knows."""

    def children(self, node: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """Return the parts of an object by name."""

    def shape(self, node: Any) -> tuple[int, ...] | None:  # noqa: ANN401
        """Return the shape of a tensor, or None for any other object."""


class ModelTree:
    """Layers, and plain mappings and lists of them, with variables at the ends."""

    def children(self, node: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """Return the parts of an object by name; those of a list are named 0, 1, ..."""
        # Keras wraps the mappings and lists of its layers; only what `layout` made is plain.
        if type(node) is dict:
            return node
        if type(node) is list:
            return {str(index): part for index, part in enumerate(node)}
        return {} if isinstance(node, tf.Variable) else tf.train.TrackableView.children(node)

    def shape(self, node: Any) -> tuple[int, ...] | None:  # noqa: ANN401
        """Return the shape of a variable, or None for any other object."""
        return tuple(node.shape) if isinstance(node, tf.Variable) else None


class CheckpointTree:
    """What lies in a checkpoint; its nodes are numbers, 0 the root.

    Attributes:
        path: the checkpoint's path without an ending.
    """

    def __init__(self, given: str) -> None:
        """Open a checkpoint.

        Args:
            given: a path without an ending, a folder of checkpoints, whose latest one is taken, or
                a folder that holds a SavedModel.

        Raises:
            UserError: if there is none, or it is broken or older than TensorFlow 2.
        """
        self.path = _resolve(given)
        try:
            self._reader = tf.train.load_checkpoint(self.path)
        except (tf.errors.OpError, ValueError) as error:
            raise UserError(
                f"{self.path} is no checkpoint: {str(error).splitlines()[0]}.") from error
        self._shapes = self._reader.get_variable_to_shape_map()
        if _GRAPH not in self._shapes:
            raise UserError(
                f"The checkpoint {self.path} was not written by TensorFlow 2: it has no graph of "
                "objects.")
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self._reader.get_tensor(_GRAPH))
        self._nodes = graph.nodes

    def children(self, node: int) -> Mapping[str, int]:
        """Return the parts of an object by name."""
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def tensor(self, node: int) -> str | None:
        """Return the name of the tensor that a node stands for, or None for any other object."""
        names = [attribute.checkpoint_key for attribute in self._nodes[node].attributes]
        return names[0] if len(names) == 1 and names[0] in self._shapes else None

    def shape(self, node: int) -> tuple[int, ...] | None:
        """Return the shape of a tensor, or None for any other object."""
        name = self.tensor(node)
        return None if name is None else tuple(self._shapes[name])

    def value(self, tensor: str) -> np.ndarray:
        """Read a tensor."""
        return self._reader.get_tensor(tensor)

    def shape_of(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor, by its name."""
        return tuple(self._shapes[tensor])

    def tensors_below(self, node: int) -> set[str]:
        """Return the names of all tensors below an object."""
        names = (self.tensor(n) for n in descendants(self, node))
        return {name for name in names if name is not None}

    def tensors(self) -> list[str]:
        """Return the names of all tensors, the graph left out."""
        return sorted(self._shapes.keys() - {_GRAPH})


def follow(tree: Tree, node: Any, path: str) -> Any | None:  # noqa: ANN401
    """Return the part of an object at a path such as "a/b", or None where there is no such."""
    for name in path.split("/"):
        children = tree.children(node)
        if name not in children:
            return None
        node = children[name]
    return node


def descendants(tree: Tree, node: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield an object and everything below it, each once."""
    seen, waiting = {}, [node]
    while waiting:
        node = waiting.pop()
        # Variables cannot be hashed; equal numbers are the same node of a checkpoint.
        identity = node if isinstance(node, int) else id(node)
        if identity not in seen:
            seen[identity] = node  # kept: a later object must not get the same id
            yield node
            waiting += tree.children(node).values()


def shapes_below(tree: Tree, node: Any) -> Iterator[tuple[int, ...]]:  # noqa: ANN401
    """Yield the shape of every tensor below an object."""
    shapes = (tree.shape(part) for part in descendants(tree, node))
    return (shape for shape in shapes if shape is not None)


def _resolve(given: str) -> str:
    """Return the path of a checkpoint without its ending."""
    path = given
    if tf.io.gfile.exists(f"{given}/saved_model.pb"):
        path = f"{given}/variables/variables"
    elif tf.io.gfile.isdir(given):
        path = tf.train.latest_checkpoint(given)
        if path is None:
            raise UserError(f"There is no checkpoint in the folder {given}.")
    if not tf.io.gfile.exists(f"{path}.index"):
        hint = ""
        if tf.io.gfile.exists(path):
            hint = " A checkpoint's path is given without its ending, such as DIR/ckpt-70000."
        raise UserError(f"There is no checkpoint {path}: {path}.index is missing.{hint}")
    return path
