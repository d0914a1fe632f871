"""Settings of layers that Keras 1 and 2 wrote and Keras 3 calls otherwise, or lacks."""

from typing import Any

from nc_tf.errors import InputError, quote
from nc_tf.models.loading.containers import RESAVE
from nc_tf.models.loading.legacy.file import File

# Keras 1 names of settings; None: a setting that no longer exists and does not change what the network computes.
KERAS_1_NAMES: dict[str, str | None] = {
    "nb_filter": "filters", "output_dim": "units", "border_mode": "padding", "subsample": "strides", "bias": "use_bias",
    "p": "rate", "init": "kernel_initializer", "beta_init": "beta_initializer", "gamma_init": "gamma_initializer", "input_dim": None,
    "W_regularizer": None, "b_regularizer": None, "W_constraint": None, "b_constraint": None, "input_dtype": None, "mode": None,
    "gamma_regularizer": None, "beta_regularizer": None, "activity_regularizer": None,
}  # fmt: skip
KERAS_1_LAYERS = {
    "Activation", "AveragePooling2D", "BatchNormalization", "Convolution2D", "Cropping2D", "Dense", "Dropout", "ELU", "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D", "InputLayer", "LeakyReLU", "MaxPooling2D", "Permute", "Reshape", "SpatialDropout2D", "ThresholdedReLU",
    "UpSampling2D",
    "ZeroPadding2D",
}  # fmt: skip
# Settings that Keras 2 wrote and Keras 3 does not accept, with the only values that mean nothing; (): whatever the value.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,), "time_major": (False,), "renorm": (False,), "virtual_batch_size": (None,), "adjustment": (None,), "ragged": (False,),
    "sparse": (False,), "noise_shape": (None,), "causal": (False,), "fused": (), "implementation": (), "query_shape": (), "key_shape": (),
    "value_shape": (), "renorm_clipping": (), "renorm_momentum": (), "kernel_initializer": (), "kernel_regularizer": (),
    "kernel_constraint": (),
    "rng_type": (), "experimental_autocast": (), "force_generator": (), "batch_input_shape": (), "input_dtype": (), "autocast": (),
    "type_spec": (None,), "dynamic": (False,),
}  # fmt: skip
DROPPED: dict[str, set[str]] = {
    **{kind: {"groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"} for kind in (
        "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")},
    **{f"Conv{d}DTranspose": {"groups"} for d in (1, 2, 3)},
    **{f"SpatialDropout{d}D": {"noise_shape"} for d in (1, 2, 3)},
    **{kind: {"time_major", "implementation"} for kind in ("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")},
    **{kind: {"implementation"} for kind in ("LSTMCell", "GRUCell", "SimpleRNNCell")},
    "RNN": {"time_major"},
    "BatchNormalization": {"renorm", "renorm_clipping", "renorm_momentum", "fused", "virtual_batch_size", "adjustment"},
    "InputLayer": {"ragged", "sparse", "type_spec"},
    "Attention": {"causal"}, "AdditiveAttention": {"causal"},
    "MultiHeadAttention": {"query_shape", "key_shape", "value_shape"},
}  # fmt: skip
DROPPED_EVERYWHERE = {"batch_input_shape", "input_dtype", "experimental_autocast", "autocast", "force_generator", "rng_type", "dynamic"}


def drop(key: str, config: dict[str, Any], file: File) -> None:
    """Remove a setting that Keras 3 lacks.

    Raises:
        InputError: its value changes what the layer computes.
    """
    neutral = NEUTRAL[key]
    if neutral and config[key] not in neutral:
        raise InputError(
            f"{file.path}: layer {quote(config.get('name'))} has {key}={quote(config[key])}, which Keras 3 cannot express; "
            f"expected {key}={neutral[0]}; rebuild it without, then {RESAVE}"
        )
    del config[key]


def rename_keras_1(kind: str, config: dict[str, Any], file: File) -> None:
    """Give the settings of a layer of Keras 1 the names of today.

    Raises:
        InputError: another layer than `KERAS_1_LAYERS`, channels first, or a BatchNormalization by the statistics of the batch.
    """
    if kind not in KERAS_1_LAYERS:
        what = f"is a {quote(kind)} of Keras 1, which nc_tf does not translate"
        raise file.refuse(config.get("name"), what, "load it by Keras 2 and save it")
    ordering = config.pop("dim_ordering", "tf")
    if ordering not in ("tf", "default"):
        raise InputError(
            f"{file.path}: layer {quote(config.get('name'))} orders its dimensions {quote(ordering)} (channels first); "
            f"expected 'tf'; {RESAVE}"
        )
    if config.get("mode", 0) != 0:  # BatchNormalization by the statistics of the batch, or of each image
        raise InputError(
            f"{file.path}: layer {quote(config.get('name'))} has mode={quote(config['mode'])}, which Keras 3 cannot express; "
            f"expected mode=0; rebuild it without, then {RESAVE}"
        )
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col", None)]
    for old, new in KERAS_1_NAMES.items():
        if old in config:
            setting = config.pop(old)
            if new:
                config[new] = setting
