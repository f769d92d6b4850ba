"""Training on the replicas of a strategy, on one machine or several.

`keras.Model.fit` cannot do it on several machines (Keras 3.15, TensorFlow 2.21): it
builds the model from the mean of the replicas' batches, and takes the mean of scalars
over their first axis. On one machine the former fails where replicas get shares of
different sizes. What is used of Keras here is documented: `train_step`, `test_step`,
metrics and callbacks.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def distributed_fit(
    model: keras.Model,
    training: Callable[..., tf.data.Dataset],
    validation: Callable[..., tf.data.Dataset],
    *,
    steps_per_epoch: int,
    validation_steps: int,
    epochs: int,
    initial_epoch: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 2,
) -> None:
    """What `model.fit` is on one device, for a model made under a strategy.

    All workers must call it. The figures of an epoch are means over the images that all
    replicas have seen, those of a step means over the replicas; they are the same on
    all workers.

    Args:
        model: compiled `keras.Model`, made in the scope of the strategy.
        training: function that takes the arguments `replicas` and `own` of
            `v1keras.data.training_batches` and returns such endless batches.
        validation: likewise, for one pass.
        steps_per_epoch: int.
        validation_steps: int.
        epochs: int. The last epoch.
        initial_epoch: int. The epoch to begin with, from 0. Defaults to `0`.
        callbacks: sequence of `keras.callbacks.Callback`.
        verbose: int. As in `model.fit`. Defaults to `2`.
    """
    strategy = model.distribute_strategy
    with strategy.scope():  # no variable may be made in a step
        model.optimizer.build(model.trainable_variables)
    train = _on_replicas(strategy, model.train_step)
    test = _on_replicas(strategy, model.test_step)
    batches = iter(_distributed(strategy, training))
    validation_batches = _distributed(strategy, validation)
    callbacks = keras.callbacks.CallbackList(
        callbacks,
        add_progbar=verbose != 0,
        model=model,
        verbose=verbose,
        epochs=epochs,
        steps=steps_per_epoch,
    )
    model.stop_training = False
    callbacks.on_train_begin()
    logs = {}
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        for step in range(steps_per_epoch):
            callbacks.on_train_batch_begin(step)
            callbacks.on_train_batch_end(step, train(batches))
        logs = _figures(model)
        model.reset_metrics()
        callbacks.on_test_begin()
        passes = iter(validation_batches)
        for step in range(validation_steps):
            callbacks.on_test_batch_begin(step)
            callbacks.on_test_batch_end(step, test(passes))
        tested = _figures(model)
        callbacks.on_test_end(tested)
        logs |= {f"val_{name}": value for name, value in tested.items()}
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    callbacks.on_train_end(logs)


def _on_replicas(strategy: tf.distribute.Strategy, step: Callable) -> Callable:
    """A step of all replicas on the next batches, and the means of what they report."""

    @tf.function(autograph=False)
    def compiled(batches):
        reported = strategy.run(step, (next(batches),))
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in reported.items()
        }

    return lambda batches: {k: float(v) for k, v in compiled(batches).items()}


def _distributed(
    strategy: tf.distribute.Strategy, batches: Callable[..., tf.data.Dataset]
) -> tf.distribute.DistributedDataset:
    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        own = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * own
        return batches(replicas=replicas, own=range(first, first + own))

    return strategy.distribute_datasets_from_function(of_worker)


def _figures(model: keras.Model) -> dict[str, float]:
    # Read outside of the replicas, sums and counts are those of all of them.
    return {name: float(value) for name, value in model.get_metrics_result().items()}
