"""Which operations have effects is told from the graph, functions included."""

import pytest

from modelserver.saved_model.graph import ModelGraph

pytestmark = pytest.mark.tensorflow


def meta_graph_of(build):
    """Export the graph that `build` makes; it returns the output tensor."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        name = build(tf, tf.compat.v1).name
        return tf.compat.v1.train.export_meta_graph(graph=graph), name


def has_effects(build):
    from modelserver.saved_model.op_registry import find_op

    meta_graph, name = meta_graph_of(build)
    return ModelGraph(meta_graph, find_op).has_effects([name])


def find_no_op(name):
    return None


def read_resource_variable(tf, v1):
    return v1.get_variable("v", [2], use_resource=True) + 1


def read_reference_variable(tf, v1):
    return v1.get_variable("v", [2], use_resource=False) + 1


def gather_rows(tf, v1):
    return tf.gather(v1.get_variable("v", [9, 2], use_resource=True), [1, 2])


def draw_random_numbers(tf, v1):
    return tf.random.normal([2]) + tf.random.shuffle([1.0, 2.0])


def look_up(tf, v1):
    initializer = tf.lookup.KeyValueTensorInitializer(["a"], [1])
    return tf.lookup.StaticHashTable(initializer, 0).lookup(tf.constant(["a"]))


def check_and_branch(tf, v1):
    x = v1.placeholder(tf.float32, [])
    with tf.control_dependencies([tf.debugging.assert_positive(x)]):
        return tf.cond(x > 1, lambda: x * 2, lambda: x)


def loop(tf, v1):
    return tf.while_loop(lambda n: n < 3, lambda n: n + 1, [0])[0]


def call_function(tf, v1):
    variable = tf.Variable([1.0])
    return tf.function(lambda: variable * 2)()


@pytest.mark.parametrize(
    "build",
    [
        read_resource_variable,
        read_reference_variable,
        gather_rows,
        draw_random_numbers,
        look_up,
        check_and_branch,
        loop,
        call_function,
    ],
)
def test_reading_drawing_and_branching_has_no_effect(build):
    assert not has_effects(build)


def assign(tf, v1):
    return v1.get_variable("v", [2], use_resource=True).assign_add([1.0, 1.0])


def assign_to_reference(tf, v1):
    return v1.assign(v1.get_variable("v", [2], use_resource=False), [1.0, 1.0])


def scatter(tf, v1):
    return v1.scatter_update(v1.get_variable("v", [2], use_resource=True), [0], [1.0])


def dequeue(tf, v1):
    return tf.queue.FIFOQueue(3, [tf.float32]).dequeue()


def insert_into_table(tf, v1):
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
    with tf.control_dependencies([table.insert([1], [2])]):
        return tf.constant(1)


def assign_in_function(tf, v1):
    variable = tf.Variable(1.0)
    inner = tf.function(lambda: variable.assign_add(1.0))
    return tf.function(lambda: inner() + 1)()


def assign_in_branch(tf, v1):
    variable = tf.Variable(1.0)
    chosen = v1.placeholder(tf.bool, [])
    return tf.function(lambda c: tf.cond(c, lambda: variable.assign_add(1.0), lambda: 1.0))(chosen)


def advance_generator(tf, v1):
    return tf.random.Generator.from_seed(1).normal([2])


def call_python(tf, v1):
    return tf.numpy_function(lambda: 1.0, [], tf.float64)


@pytest.mark.parametrize(
    "build",
    [
        assign,
        assign_to_reference,
        scatter,
        dequeue,
        insert_into_table,
        assign_in_function,
        assign_in_branch,
        advance_generator,
        call_python,
    ],
)
def test_writing_and_the_unknown_have_effects(build):
    assert has_effects(build)


def test_an_operation_without_a_definition_has_effects():
    meta_graph, name = meta_graph_of(lambda tf, v1: tf.constant(1.0) + 1)
    meta_graph.meta_info_def.ClearField("stripped_op_list")

    assert ModelGraph(meta_graph, find_no_op).has_effects([name])


def test_the_registry_knows_which_operations_are_stateful():
    from modelserver.saved_model.op_registry import find_op

    assert find_op("AssignVariableOp").is_stateful
    assert not find_op("AddV2").is_stateful
    assert find_op("NoSuchOperation") is None


def test_effects_elsewhere_in_the_graph_do_not_count():
    meta_graph, name = meta_graph_of(
        lambda tf, v1: (assign(tf, v1), tf.constant(1.0, name="untouched"))[1]
    )

    assert not ModelGraph(meta_graph, find_no_op).has_effects([name])


@pytest.mark.parametrize(
    ("build", "expected"), [(assign_in_function, True), (call_function, False)]
)
def test_functions_called_by_name_are_looked_into(build, expected):
    from modelserver.saved_model.op_registry import find_op

    meta_graph, name = meta_graph_of(build)
    for node in meta_graph.graph_def.node:
        if node.op.endswith("PartitionedCall"):
            node.op = node.attr.pop("f").func.name

    assert ModelGraph(meta_graph, find_op).has_effects([name]) is expected


def test_a_tensor_that_is_not_in_the_graph_has_no_effects():
    meta_graph, _ = meta_graph_of(call_function)

    assert not ModelGraph(meta_graph, find_no_op).has_effects(["nope:0"])


def test_recursive_functions_come_to_an_end():
    meta_graph, name = meta_graph_of(call_function)
    for function in meta_graph.graph_def.library.function:
        call = function.node_def.add(name="again", op="StatefulPartitionedCall")
        call.attr["f"].func.name = function.signature.name

    assert not ModelGraph(meta_graph, find_no_op).has_effects([name])
