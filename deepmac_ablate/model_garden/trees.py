"""Trees of named parts with tensors as leaves, in a checkpoint and in our model.

The name of a tensor in a checkpoint is only one of the paths from the root to it. The graph of
objects that is stored with the tensors has all paths, and is the same whether a trainer, a model or
a SavedModel was written.
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
    """Access to the parts of objects; the type of a node depends on the tree."""

    def children(self, node: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """Return the parts of an object by name."""

    def shape(self, node: Any) -> tuple[int, ...] | None:  # noqa: ANN401
        """Return the shape of a tensor, or None for another object."""


class ModelTree:
    """Tree of layers, and of plain mappings and lists of layers, with variables as leaves."""

    def children(self, node: Any) -> Mapping[str, Any]:  # noqa: ANN401
        """Return the parts of an object by name; those of a list are named "0", "1", ...."""
        # Keras wraps the mappings and lists of its layers; plain ones come from `layout`.
        if type(node) is dict:
            return node
        if type(node) is list:
            return {str(index): part for index, part in enumerate(node)}
        return {} if isinstance(node, tf.Variable) else tf.train.TrackableView.children(node)

    def shape(self, node: Any) -> tuple[int, ...] | None:  # noqa: ANN401
        """Return the shape of a variable, or None for another object."""
        return tuple(node.shape) if isinstance(node, tf.Variable) else None


class CheckpointTree:
    """Tree of a checkpoint; its nodes are numbers, and 0 is the root.

    Attributes:
        path: Path of the checkpoint without suffix.
    """

    def __init__(self, path: str) -> None:
        """Open a checkpoint.

        Args:
            path: Path without suffix, folder of checkpoints, of which the latest is taken, or
                folder of a SavedModel.

        Raises:
            UserError: If there is no checkpoint, or it is broken or older than TensorFlow 2.
        """
        self.path = _resolve_path(path)
        try:
            self._reader = tf.train.load_checkpoint(self.path)
        except (tf.errors.OpError, ValueError) as error:
            raise UserError(
                f"{self.path} is not a checkpoint: {str(error).splitlines()[0]}.") from error
        self._shapes = self._reader.get_variable_to_shape_map()
        if _GRAPH not in self._shapes:
            raise UserError(
                f"The checkpoint {self.path} was not written by TensorFlow 2: it has no object "
                "graph.")
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self._reader.get_tensor(_GRAPH))
        self._nodes = graph.nodes

    def children(self, node: int) -> Mapping[str, int]:
        """Return the parts of an object by name."""
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def tensor_name(self, node: int) -> str | None:
        """Return the name of the tensor at a node, or None for another object."""
        names = [attribute.checkpoint_key for attribute in self._nodes[node].attributes]
        return names[0] if len(names) == 1 and names[0] in self._shapes else None

    def shape(self, node: int) -> tuple[int, ...] | None:
        """Return the shape of a tensor, or None for another object."""
        name = self.tensor_name(node)
        return None if name is None else tuple(self._shapes[name])

    def read_tensor(self, name: str) -> np.ndarray:
        """Read a tensor."""
        return self._reader.get_tensor(name)

    def tensor_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the tensor with a name."""
        return tuple(self._shapes[name])

    def tensor_names_below(self, node: int) -> set[str]:
        """Return the names of all tensors below an object."""
        names = (self.tensor_name(n) for n in descendants(self, node))
        return {name for name in names if name is not None}

    def tensor_names(self) -> list[str]:
        """Return the names of all tensors except the object graph."""
        return sorted(self._shapes.keys() - {_GRAPH})


def find_part(tree: Tree, node: Any, path: str) -> Any | None:  # noqa: ANN401
    """Return the part of an object at a path such as "a/b", or None if it does not exist."""
    for name in path.split("/"):
        children = tree.children(node)
        if name not in children:
            return None
        node = children[name]
    return node


def descendants(tree: Tree, node: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield an object and all objects below it, each once."""
    seen, waiting = {}, [node]
    while waiting:
        node = waiting.pop()
        # Variables cannot be hashed. In a checkpoint, equal numbers are the same node.
        identity = node if isinstance(node, int) else id(node)
        if identity not in seen:
            # Keeps the object alive, so that no later object gets the same id.
            seen[identity] = node
            yield node
            waiting += tree.children(node).values()


def shapes_below(tree: Tree, node: Any) -> Iterator[tuple[int, ...]]:  # noqa: ANN401
    """Yield the shape of every tensor below an object."""
    shapes = (tree.shape(part) for part in descendants(tree, node))
    return (shape for shape in shapes if shape is not None)


def _resolve_path(given: str) -> str:
    """Return the path of a checkpoint without suffix."""
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
            hint = " Pass the path of a checkpoint without its suffix, such as DIR/ckpt-70000."
        raise UserError(f"The checkpoint {path} does not exist: {path}.index is missing.{hint}")
    return path
