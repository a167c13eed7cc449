"""Clustering of a tf_keras twin by TF-MOT: wrap, train, strip."""

import importlib

from tuning._keras2.fitting import Fitting, fit, keeping_zeros
from tuning._keras2.guard import load_tf_keras, load_tf_mot
from tuning._keras2.pruning import sparse_kernels

_MODULE = "tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster"
INITIALIZATIONS = {
    "kmeans++": "KMEANS_PLUS_PLUS",
    "linear": "LINEAR",
    "density": "DENSITY_BASED",
    "random": "RANDOM",
}


def cluster_twin(
    twin, clustered, settled, clusters, initialization, sparse, keep, fitting: Fitting, on_epoch
):
    """Train a twin while TF-MOT holds its kernels at few values; carry the weights back.

    Args:
        twin: From `to_tf_keras`; fresh, since TF-MOT takes the kernels out of its layers.
        clustered: Names of its layers to cluster.
        settled: Names of those that have few values already; not trained, so that they keep them.
        clusters: Values a kernel.
        initialization: Key of `INITIALIZATIONS`.
        sparse: Those of `clustered` whose zeros are to stay.
        keep: Whether those of all other layers are to stay.
        fitting: How to train.
        on_epoch: Receives the epoch and its measures.
    """
    tf_keras, clustering = load_tf_keras(), load_tf_mot().clustering.keras
    # The public `cluster_weights` does not know `preserve_sparsity`; TF-MOT's guide imports this.
    wrap = importlib.import_module(_MODULE).cluster_weights
    first = getattr(clustering.CentroidInitialization, INITIALIZATIONS[initialization])
    own = [keeping_zeros(sparse_kernels(twin, clustered))] if keep else []

    def wrapped(layer):
        if layer.name in settled:
            layer.trainable = False
        if layer.name not in clustered:
            return layer
        # TF-MOT finds no weights in a frozen layer.
        layer.trainable = True
        return wrap(
            layer,
            number_of_clusters=clusters,
            cluster_centroids_init=first,
            preserve_sparsity=layer.name in sparse,
        )

    model = tf_keras.models.clone_model(twin.model, clone_function=wrapped)
    fit(model, fitting, own, on_epoch)
    twin.carry_back(clustering.strip_clustering(model))
