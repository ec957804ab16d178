"""ModelGraph: what the signatures of a MetaGraph reach, and whether calling them has effects.

Works on the protobuf alone; nothing is run and TensorFlow is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.framework.op_def_pb2 import OpDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

# TensorFlow calls these stateful because they must not be merged or folded; a caller sees no
# effect. An operation that is stateful and not named here counts as one that has effects.
_WITHOUT_EFFECT = frozenset(
    {
        *("Assert", "CheckNumerics", "CheckNumericsV2", "Empty", "GuaranteeConst"),
        *("StatefulPartitionedCall", "Case", "If", "While", "DisableCopyOnRead"),
        *("VarHandleOp", "ReadVariableOp", "VarIsInitializedOp", "VariableShape", "VariableV2"),
        *("Variable", "ResourceGather", "ResourceGatherNd"),
        *("HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"),
        *("MutableDenseHashTable", "MutableDenseHashTableV2", "MutableHashTableOfTensors"),
        *("MutableHashTableOfTensorsV2", "LookupTableFind", "LookupTableFindV2"),
        *("LookupTableSize", "LookupTableSizeV2", "LookupTableExport", "LookupTableExportV2"),
        *("Multinomial", "ParameterizedTruncatedNormal", "TruncatedNormal", "RandomShuffle"),
        *("RandomGamma", "RandomPoisson", "RandomPoissonV2", "RandomStandardNormal"),
        *("RandomUniform", "RandomUniformInt", "RandomCrop", "StatelessRandomGetAlg"),
        *("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"),
        *("TensorArrayV3", "TensorArrayReadV3", "TensorArrayWriteV3", "TensorArrayGatherV3"),
        *("TensorArrayScatterV3", "TensorArraySizeV3", "TensorArrayConcatV3"),
        *("TensorArraySplitV3", "TensorArrayCloseV3"),
    }
)
# These take a reference to a TensorFlow 1 variable or table and only read it, or hand it on.
_READS_REFERENCE = frozenset(
    {
        *("RefIdentity", "RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration"),
        *("RefSelect", "IsVariableInitialized", "LookupTableFind", "LookupTableSize"),
    }
)


class ModelGraph:
    """The graph of a MetaGraph with its functions. Immutable.

    `find_op` gives the definitions of operations that the MetaGraph does not bring along.
    """

    def __init__(self, meta_graph: MetaGraphDef, find_op: Callable[[str], OpDef | None]) -> None:
        graph = meta_graph.graph_def
        self._nodes = {node.name: node for node in graph.node}
        self._functions = {function.signature.name: function for function in graph.library.function}
        self._find_op = find_op
        self._ops = {op.name: op for op in meta_graph.meta_info_def.stripped_op_list.op}

    def reachable_nodes(self, tensors: Iterable[str]) -> Iterator[NodeDef]:
        """Yield each node that computing these tensors (`"dense/MatMul:0"`) runs, once."""
        waiting = [_node_name(tensor) for tensor in tensors]
        seen = set(waiting)
        while waiting:
            node = self._nodes.get(waiting.pop())
            if node is None:
                continue
            yield node
            new = {_node_name(input_name) for input_name in node.input} - seen
            seen |= new
            waiting.extend(new)

    def has_effects(self, tensors: Iterable[str]) -> bool:
        """Whether computing these tensors may change state that a later call sees.

        Random operations do not count. What is not known to have no effect counts: the operations
        of other packages, Python functions.
        """
        seen: set[str] = set()
        return any(self._node_has_effects(node, seen) for node in self.reachable_nodes(tensors))

    def _node_has_effects(self, node: NodeDef, seen: set[str]) -> bool:
        called = [name for attr in node.attr.values() for name in _function_names(attr)]
        if node.op in self._functions:  # TensorFlow 1 calls a function by its name
            called.append(node.op)
        elif _op_has_effects(self._ops.get(node.op) or self._find_op(node.op)):
            return True
        return any(self._function_has_effects(name, seen) for name in called)

    def _function_has_effects(self, name: str, seen: set[str]) -> bool:
        if name in seen:  # its answer is part of the one being worked out
            return False
        seen.add(name)
        function = self._functions.get(name)
        return function is None or any(
            self._node_has_effects(node, seen) for node in function.node_def
        )


def _op_has_effects(op: OpDef | None) -> bool:
    if op is None:
        return True
    if op.name not in _READS_REFERENCE and any(arg.is_ref for arg in op.input_arg):
        return True
    return op.is_stateful and op.name not in _WITHOUT_EFFECT


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").split(":", 1)[0]


def _function_names(attr: AttrValue) -> list[str]:
    if attr.HasField("func"):
        return [attr.func.name]
    return [function.name for function in attr.list.func]
