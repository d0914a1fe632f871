"""Small networks written by a TensorFlow with Keras 2, with its answers: one for each layer, and `keras.applications`.

Runs in an environment of its own that holds such a TensorFlow (2.6 to 2.15), never in that of nc_tf:

    python3.11 -m venv old && old/bin/pip install tensorflow==2.15.1
    old/bin/python -m benchmarks.files.legacy_models layers OUT        # OUT/NAME.h5, OUT/NAME.keras (from 2.12 on), OUT/NAME.npy
    old/bin/python -m benchmarks.files.legacy_models application OUT MobileNet

`benchmarks/files/compatibility.py` reads them with nc_tf and compares. Inputs and weights are drawn by a seed.
"""

# The script runs under an old Keras, which has no types.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow import keras

L = keras.layers
K = keras.backend
SIDE, CLASSES = 8, 3
VERSION = tuple(map(int, tf.__version__.split(".")[:2]))
APPLICATIONS = {  # name: smallest side
    "Xception": 71,
    "VGG16": 32,
    "VGG19": 32,
    "ResNet50": 32,
    "ResNet101": 32,
    "ResNet152": 32,
    "ResNet50V2": 32,
    "ResNet101V2": 32,
    "ResNet152V2": 32,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "MobileNetV3Large": 32,
    "DenseNet121": 32,
    "DenseNet169": 32,
    "DenseNet201": 32,
    "NASNetMobile": 32,
    "NASNetLarge": 32,
    "EfficientNetB0": 32,
    "EfficientNetB1": 32,
    "EfficientNetB2": 32,
    "EfficientNetB3": 32,
    "EfficientNetB4": 32,
    "EfficientNetB5": 32,
    "EfficientNetB6": 32,
    "EfficientNetB7": 32,
    "EfficientNetV2B0": 32,
    "EfficientNetV2B1": 32,
    "EfficientNetV2B2": 32,
    "EfficientNetV2B3": 32,
    "EfficientNetV2S": 32,
    "EfficientNetV2M": 32,
    "EfficientNetV2L": 32,
    "ConvNeXtTiny": 32,
    "ConvNeXtSmall": 32,
    "ConvNeXtBase": 32,
    "ConvNeXtLarge": 32,
    "ConvNeXtXLarge": 32,
    "RegNetX002": 32,
    "RegNetX016": 32,
    "RegNetY002": 32,
    "RegNetY016": 32,
    "ResNetRS50": 32,
    "ResNetRS101": 32,
}


def images(shape, seed=0):
    """What every network answers: values on both sides of zero, and some large ones."""
    values = np.random.RandomState(seed).normal(size=(4, *(side or SIDE for side in shape))) * np.array([0.5, 2, 8, 60]).reshape(
        4, *[1] * len(shape)
    )
    return values.astype("float32")


def layers_of_images():
    """Networks from what is done to an image (8, 8, 3)."""

    def square(y):
        return L.Reshape((8, 24))(y)

    return {
        "Activation": lambda: [
            [
                L.Activation(name)
                for name in (
                    "elu",
                    "gelu",
                    "hard_sigmoid",
                    "linear",
                    "relu",
                    "selu",
                    "sigmoid",
                    "softmax",
                    "softplus",
                    "softsign",
                    "swish",
                    "tanh",
                )
            ]
        ],
        "Exponential": lambda: [L.Rescaling(0.1), [L.Activation("exponential"), L.Conv2D(2, 2, activation="exponential")]],
        "ActivationOfTensorFlow": lambda: [
            [L.Activation(f) for f in (tf.nn.relu6, tf.nn.leaky_relu, tf.nn.silu, tf.nn.elu, tf.nn.softmax, tf.nn.selu)]
        ],
        "ActivationIn": lambda: [
            [L.Conv2D(2, 2, activation=a) for a in ("hard_sigmoid", "swish", "gelu", "selu", tf.nn.relu6, tf.nn.leaky_relu, "softmax")]
        ],
        "ActivationInDense": lambda: [[L.Dense(4, activation="hard_sigmoid"), L.Dense(4, activation="hard_sigmoid", use_bias=False)]],
        "ActivationInConvs": lambda: [
            [
                L.DepthwiseConv2D(2, activation="hard_sigmoid"),
                L.SeparableConv2D(2, 2, activation="hard_sigmoid"),
                L.Conv2DTranspose(2, 2, activation="hard_sigmoid"),
            ]
        ],
        "ActivationLayerInside": lambda: [[L.Conv2D(2, 2, activation=L.LeakyReLU(0.1)), L.Dense(2, activation=L.ReLU(2.0))]],
        "ReLU": lambda: [[L.ReLU(), L.ReLU(6.0), L.ReLU(max_value=3.0, negative_slope=0.2, threshold=0.5), L.ReLU(threshold=1.0)]],
        "LeakyReLU": lambda: [[L.LeakyReLU(), L.LeakyReLU(alpha=0.05), L.LeakyReLU(alpha=0.0)]],
        "ELU": lambda: [[L.ELU(), L.ELU(alpha=0.3)]],
        "PReLU": lambda: [[L.PReLU(), L.PReLU(shared_axes=[1, 2])]],
        "ThresholdedReLU": lambda: [[L.ThresholdedReLU(), L.ThresholdedReLU(theta=0.2)]],
        "Softmax": lambda: [[L.Softmax(), L.Softmax(axis=1), L.Softmax(axis=[1, 2])]],
        "Conv2D": lambda: [
            [
                L.Conv2D(4, 3),
                L.Conv2D(4, (2, 3), strides=2, padding="same"),
                L.Conv2D(6, 3, groups=3),
                L.Conv2D(2, 3, dilation_rate=2, use_bias=False),
            ]
        ],
        "Conv2DTranspose": lambda: [
            [
                L.Conv2DTranspose(4, 3),
                L.Conv2DTranspose(4, 3, strides=2, padding="same"),
                L.Conv2DTranspose(2, 4, strides=2, padding="valid"),
                L.Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=1),
                L.Conv2DTranspose(2, 3, strides=3, use_bias=False),
                L.Conv2DTranspose(2, 3, dilation_rate=2),
                L.Conv2DTranspose(2, 2, strides=3, padding="valid"),
            ]
        ],
        "DepthwiseConv2D": lambda: [
            [
                L.DepthwiseConv2D(3),
                L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
                L.DepthwiseConv2D(2, dilation_rate=2, use_bias=False),
            ]
        ],
        "SeparableConv2D": lambda: [
            [
                L.SeparableConv2D(4, 3),
                L.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2),
                L.SeparableConv2D(3, 2, dilation_rate=2, use_bias=False),
            ]
        ],
        "LocallyConnected2D": lambda: [
            L.LocallyConnected2D(2, 3),
            L.LocallyConnected2D(2, (3, 2), strides=2, activation="relu", use_bias=False),
        ],
        "LocallyConnected2DImplementation2": lambda: [
            L.LocallyConnected2D(2, 3, implementation=2, strides=(1, 2)),
            L.LocallyConnected2D(2, 3, padding="same", implementation=2),
        ],
        "LocallyConnected2DImplementation3": lambda: [
            L.LocallyConnected2D(2, 3, implementation=3),
            L.LocallyConnected2D(2, (3, 2), strides=2, implementation=3),
        ],
        "LocallyConnected2DSame": lambda: [L.LocallyConnected2D(2, 3, padding="same", implementation=3)],
        "MaxPooling2D": lambda: [[L.MaxPooling2D(), L.MaxPooling2D(3, strides=2, padding="same"), L.MaxPooling2D((2, 3), strides=1)]],
        "AveragePooling2D": lambda: [
            [L.AveragePooling2D(), L.AveragePooling2D(3, strides=2, padding="same"), L.AveragePooling2D((2, 3), strides=1)]
        ],
        "GlobalMaxPooling2D": lambda: [[L.GlobalMaxPooling2D(), L.GlobalMaxPooling2D(keepdims=True)]],
        "GlobalAveragePooling2D": lambda: [[L.GlobalAveragePooling2D(), L.GlobalAveragePooling2D(keepdims=True)]],
        "BatchNormalization": lambda: [
            [
                L.BatchNormalization(),
                L.BatchNormalization(momentum=0.9, epsilon=0.1, scale=False),
                L.BatchNormalization(center=False),
                L.BatchNormalization(axis=1),
            ]
        ],
        "BatchNormalizationEpsilon": lambda: [L.BatchNormalization(epsilon=1e-7, name="tiny"), L.Conv2D(2, 2)],
        "LayerNormalization": lambda: [
            [
                L.LayerNormalization(),
                L.LayerNormalization(epsilon=0.1, center=False),
                L.LayerNormalization(axis=[1, 2, 3]),
                L.LayerNormalization(axis=1, scale=False),
            ]
        ],
        "Normalization": lambda: [
            [
                L.Normalization(),
                L.Normalization(mean=1.0, variance=4.0),
                L.Normalization(mean=[1.0, 2.0, 3.0], variance=[0.5, 2.0, 4.0]),
                L.Normalization(axis=None),
            ]
        ],
        "Rescaling": lambda: [[L.Rescaling(1 / 127.5, offset=-1), L.Rescaling(2.0)]],
        "RescalingOfChannels": lambda: [L.Rescaling([1.0, 2.0, 3.0], offset=[-1.0, 0.0, 1.0])],
        "Resizing": lambda: [[L.Resizing(5, 6), L.Resizing(12, 11)]],
        "ResizingNearest": lambda: [[L.Resizing(5, 6, interpolation="nearest"), L.Resizing(12, 11, interpolation="nearest")]],
        "ResizingBicubic": lambda: [[L.Resizing(5, 6, interpolation="bicubic"), L.Resizing(12, 11, interpolation="bicubic")]],
        "ResizingArea": lambda: [L.Resizing(5, 6, interpolation="area")],
        "ResizingLanczos": lambda: [[L.Resizing(5, 6, interpolation="lanczos3"), L.Resizing(12, 11, interpolation="lanczos5")]],
        "ResizingGaussian": lambda: [L.Resizing(12, 11, interpolation="gaussian")],
        "ResizingMitchell": lambda: [L.Resizing(12, 11, interpolation="mitchellcubic")],
        "ResizingCrop": lambda: [[L.Resizing(5, 8, crop_to_aspect_ratio=True), L.Resizing(12, 5, crop_to_aspect_ratio=True)]],
        "CenterCrop": lambda: [[L.CenterCrop(5, 6), L.CenterCrop(4, 4)]],
        "CenterCropOdd": lambda: [[L.CenterCrop(5, 7), L.CenterCrop(2, 4)]],
        "CenterCropLarger": lambda: [L.CenterCrop(12, 8)],
        "RandomCrop": lambda: [L.RandomCrop(6, 6)],
        "RandomCropFlat": lambda: [L.RandomCrop(6, 4)],
        "RandomCropLarger": lambda: [L.RandomCrop(12, 10)],
        "RandomHeight": lambda: [L.RandomHeight(0.2)],
        "RandomWidth": lambda: [L.RandomWidth(0.2)],
        "RandomFlip": lambda: [L.RandomFlip(), L.RandomFlip("vertical", seed=3)],
        "RandomRotation": lambda: [L.RandomRotation(0.1), L.RandomRotation((-0.2, 0.1), fill_mode="nearest", interpolation="nearest")],
        "RandomTranslation": lambda: [
            [L.RandomTranslation(0.1, 0.2), L.RandomTranslation((-0.1, 0.1), 0.2, fill_mode="constant", fill_value=1.0)]
        ],
        "RandomZoom": lambda: [L.RandomZoom(0.1), L.RandomZoom((-0.2, 0.1), 0.1, fill_mode="wrap")],
        "RandomContrast": lambda: [L.RandomContrast(0.1), L.RandomContrast((0.2, 0.3))],
        "RandomBrightness": lambda: [L.RandomBrightness(0.1)],
        "Dropout": lambda: [L.Dropout(0.3), L.Dropout(0.2, noise_shape=(None, 1, 1, 3), seed=1)],
        "SpatialDropout2D": lambda: [L.SpatialDropout2D(0.3)],
        "GaussianNoise": lambda: [L.GaussianNoise(0.3)],
        "GaussianDropout": lambda: [L.GaussianDropout(0.3)],
        "AlphaDropout": lambda: [L.AlphaDropout(0.3)],
        "ActivityRegularization": lambda: [L.ActivityRegularization(l1=0.1, l2=0.1)],
        "UpSampling2D": lambda: [[L.UpSampling2D(), L.UpSampling2D((1, 2), interpolation="bilinear")]],
        "UpSampling2DOther": lambda: [[L.UpSampling2D(2, interpolation="bicubic"), L.UpSampling2D(2, interpolation="lanczos3")]],
        "ZeroPadding2D": lambda: [[L.ZeroPadding2D(), L.ZeroPadding2D(((1, 0), (2, 3)))]],
        "Cropping2D": lambda: [[L.Cropping2D(1), L.Cropping2D(((1, 0), (2, 1)))]],
        "Permute": lambda: [[L.Permute((2, 1, 3)), L.Permute((3, 1, 2))]],
        "Reshape": lambda: [L.Reshape((4, -1, 3)), L.Reshape((8, 24))],
        "Flatten": lambda: [L.Flatten(), L.RepeatVector(2), L.Flatten()],
        "Dense": lambda: [
            [
                L.Dense(
                    4,
                    activation="relu",
                    kernel_regularizer="l2",
                    bias_regularizer=keras.regularizers.L1L2(0.1, 0.2),
                    kernel_constraint="max_norm",
                ),
                L.Dense(3, use_bias=False),
            ]
        ],
        "Initializers": lambda: (
            [
                L.Dense(2, kernel_initializer=i)
                for i in (
                    "he_normal",
                    "lecun_uniform",
                    "orthogonal",
                    "ones",
                    keras.initializers.RandomNormal(stddev=0.02),
                    "variance_scaling",
                )
            ]
            + [
                L.Dense(
                    3,
                    bias_initializer=keras.initializers.Constant(0.1),
                    kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
                )
            ]
        ),
        "EinsumDense": lambda: [
            L.EinsumDense("abcd,de->abce", output_shape=(SIDE, SIDE, 5), bias_axes="e"),
            L.EinsumDense("abcd,de->abce", output_shape=(SIDE, SIDE, 2), activation="hard_sigmoid", bias_axes="e"),
        ],
        "Masking": lambda: [square, L.Masking(), L.LSTM(4)],
        "MaskedMean": lambda: [square, L.Cropping1D((4, 0)), L.ZeroPadding1D((3, 0)), L.Masking(), L.GlobalAveragePooling1D()],
        "MaskedFrames": lambda: [
            square,
            L.Cropping1D((4, 0)),
            L.ZeroPadding1D((3, 0)),
            L.Masking(),
            L.Bidirectional(L.GRU(3, return_sequences=True)),
            L.TimeDistributed(L.Dense(2)),
            L.LSTM(3),
        ],
        "Discretization": lambda: [L.Discretization([-1.0, 0.0, 2.0]), lambda y: L.Rescaling(0.5)(y)],
        "CategoryEncoding": lambda: [
            L.Flatten(),
            L.Dense(2, activation="sigmoid"),
            L.Discretization([0.2, 0.5, 0.7]),
            L.CategoryEncoding(num_tokens=4, output_mode="multi_hot"),
        ],
        "Conv1D": lambda: [
            square,
            L.Conv1D(4, 3),
            L.Conv1D(4, 2, padding="causal", dilation_rate=2),
            L.Conv1D(4, 2, strides=2, padding="same", groups=2),
        ],
        "Conv1DTranspose": lambda: [square, L.Conv1DTranspose(4, 3), L.Conv1DTranspose(4, 3, strides=2, padding="same")],
        "SeparableConv1D": lambda: [
            square,
            L.SeparableConv1D(4, 3),
            L.SeparableConv1D(4, 3, padding="causal", dilation_rate=2),
            L.SeparableConv1D(4, 2, strides=2, padding="same"),
        ],
        "DepthwiseConv1D": lambda: [square, L.DepthwiseConv1D(3), L.DepthwiseConv1D(2, strides=2, padding="same", depth_multiplier=2)],
        "LocallyConnected1D": lambda: [square, L.LocallyConnected1D(4, 3), L.LocallyConnected1D(4, 2, strides=2, implementation=3)],
        "Pooling1D": lambda: [
            square,
            L.MaxPooling1D(2, strides=1),
            L.AveragePooling1D(2, padding="same", strides=1),
            L.ZeroPadding1D(2),
            L.Cropping1D((1, 0)),
            L.UpSampling1D(2),
        ],
        "Global1D": lambda: [square, L.SpatialDropout1D(0.1), L.GlobalMaxPooling1D()],
        "GlobalAverage1D": lambda: [square, L.GlobalAveragePooling1D(keepdims=True)],
        "SimpleRNN": lambda: [square, L.SimpleRNN(4, return_sequences=True), L.SimpleRNN(4, activation="hard_sigmoid", go_backwards=True)],
        "LSTM": lambda: [
            square,
            L.LSTM(4, return_sequences=True),
            L.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True),
            L.LSTM(4, use_bias=False, unit_forget_bias=False, go_backwards=True),
        ],
        "LSTMActivation": lambda: [square, L.LSTM(4, activation="hard_sigmoid")],
        "GRU": lambda: [
            square,
            L.GRU(4, return_sequences=True),
            L.GRU(4, recurrent_activation="hard_sigmoid", return_sequences=True),
            L.GRU(4, use_bias=False),
        ],
        "GRUResetBefore": lambda: [
            square,
            L.GRU(4, reset_after=False, return_sequences=True),
            L.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid", activation="hard_sigmoid"),
        ],
        "GRUActivation": lambda: [square, L.GRU(4, activation="hard_sigmoid", recurrent_activation="hard_sigmoid")],
        "RNNUnrolled": lambda: [
            square,
            L.LSTM(4, unroll=True, return_sequences=True, dropout=0.1, recurrent_dropout=0.1),
            L.GRU(4, implementation=1),
        ],
        "RNNCells": lambda: [
            square,
            L.RNN(L.LSTMCell(4, recurrent_activation="hard_sigmoid"), return_sequences=True),
            L.RNN([L.GRUCell(4), L.SimpleRNNCell(3)], return_sequences=True),
            L.RNN(L.StackedRNNCells([L.LSTMCell(4), L.LSTMCell(5)])),
        ],
        "Bidirectional": lambda: [
            square,
            L.Bidirectional(L.LSTM(3, return_sequences=True, recurrent_activation="hard_sigmoid")),
            L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum"),
            L.Bidirectional(L.SimpleRNN(3, return_sequences=True), merge_mode="mul"),
            L.Bidirectional(L.LSTM(3), merge_mode="ave"),
        ],
        "BidirectionalBackward": lambda: [
            square,
            L.Bidirectional(L.LSTM(3, return_sequences=True), backward_layer=L.GRU(3, return_sequences=True, go_backwards=True)),
        ],
        "BidirectionalUnequal": lambda: [
            square,
            L.Bidirectional(L.LSTM(3, return_sequences=True), backward_layer=L.GRU(4, return_sequences=True, go_backwards=True)),
        ],
        "TimeDistributed": lambda: [
            square,
            L.Reshape((2, 4, 24)),
            L.TimeDistributed(L.Conv1D(3, 2, activation="hard_sigmoid")),
            L.TimeDistributed(L.LSTM(4)),
            L.TimeDistributed(L.BatchNormalization()),
            L.TimeDistributed(L.Activation("hard_sigmoid")),
        ],
        "MultiHeadAttention": lambda: [
            square,
            lambda y: L.MultiHeadAttention(2, 4)(y, y),
            lambda y: L.MultiHeadAttention(2, 3, value_dim=5, use_bias=False, output_shape=7)(y, y, y),
        ],
        "MultiHeadAttentionAxes": lambda: [lambda y: L.MultiHeadAttention(1, 2, attention_axes=(1, 2))(y, y)],
        "Attention": lambda: [square, lambda y: L.Attention()([y, y]), lambda y: L.Attention(use_scale=True)([y, y, y])],
        "AttentionConcat": lambda: [square, lambda y: L.Attention(score_mode="concat")([y, y])],
        "AdditiveAttention": lambda: [
            square,
            lambda y: L.AdditiveAttention()([y, y]),
            lambda y: L.AdditiveAttention(use_scale=False)([y, y]),
        ],
        "Add": lambda: [lambda y: L.Add()([y, L.Conv2D(3, 1)(y), y])],
        "Subtract": lambda: [lambda y: L.Subtract()([y, L.Conv2D(3, 1)(y)])],
        "Multiply": lambda: [lambda y: L.Multiply()([y, L.Conv2D(3, 1)(y)])],
        "Average": lambda: [lambda y: L.Average()([y, L.Conv2D(3, 1)(y)])],
        "Maximum": lambda: [lambda y: L.Maximum()([y, L.Conv2D(3, 1)(y)])],
        "Minimum": lambda: [lambda y: L.Minimum()([y, L.Conv2D(3, 1)(y)])],
        "Concatenate": lambda: [lambda y: L.Concatenate(axis=1)([y, L.Conv2D(3, 1)(y)]), lambda y: L.concatenate([y, y])],
        "Dot": lambda: [square, lambda y: L.Dot(axes=(1, 1))([y, L.Dense(5)(y)]), lambda y: L.Dot(axes=-1, normalize=True)([y, y])],
        "MultiplyBroadcast": lambda: [
            lambda y: L.Multiply()([y, L.Reshape((1, 1, 3))(L.Dense(3, activation="sigmoid")(L.GlobalAveragePooling2D()(y)))])
        ],
        "Conv3D": lambda: [L.Reshape((2, 4, 8, 3)), L.Conv3D(3, 2), L.Conv3DTranspose(2, (1, 2, 2), strides=(1, 2, 2))],
        "Conv3DSame": lambda: [
            L.Reshape((2, 4, 8, 3)),
            L.Conv3D(3, (1, 3, 3), padding="same", strides=(1, 2, 2), activation="hard_sigmoid"),
        ],
        "Pooling3D": lambda: [
            L.Reshape((2, 4, 8, 3)),
            L.MaxPooling3D((1, 2, 2)),
            L.AveragePooling3D((2, 1, 2), padding="same"),
            L.ZeroPadding3D(1),
            L.Cropping3D((1, 0, 1)),
            L.UpSampling3D(2),
            L.SpatialDropout3D(0.1),
        ],
        "Global3D": lambda: [L.Reshape((2, 4, 8, 3)), L.GlobalAveragePooling3D(keepdims=True)],
        "GlobalMax3D": lambda: [L.Reshape((2, 4, 8, 3)), L.GlobalMaxPooling3D()],
        "ConvLSTM2D": lambda: [
            L.Reshape((2, 4, 8, 3)),
            L.ConvLSTM2D(2, 2, return_sequences=True),
            L.ConvLSTM2D(2, 2, recurrent_activation="sigmoid", padding="same"),
        ],
        "ConvLSTM2DStrides": lambda: [
            L.Reshape((2, 4, 8, 3)),
            L.ConvLSTM2D(2, 3, strides=2, padding="same", use_bias=False, dilation_rate=1, return_sequences=True),
        ],
        "ConvLSTM1D": lambda: [L.Reshape((2, 4, 24)), L.ConvLSTM1D(3, 2)],
        "ConvLSTM3D": lambda: [L.Reshape((2, 4, 4, 2, 3)), L.ConvLSTM3D(2, 2)],
        "BidirectionalConvLSTM": lambda: [L.Reshape((2, 4, 8, 3)), L.Bidirectional(L.ConvLSTM2D(2, 2))],
        "GroupNormalization": lambda: [L.GroupNormalization(3), L.Conv2D(4, 1), L.GroupNormalization(2, epsilon=0.1, center=False)],
        "UnitNormalization": lambda: [L.UnitNormalization(), L.UnitNormalization(axis=1)],
        "SpectralNormalization": lambda: [L.SpectralNormalization(L.Conv2D(3, 2))],
        "Identity": lambda: [L.Identity()],
        "Synchronized": lambda: [L.BatchNormalization(synchronized=True)],
        "Mish": lambda: [L.Activation("mish")],
        "SlashInName": lambda: [L.Conv2D(3, 2, name="conv1/conv"), L.BatchNormalization(name="conv1/bn"), L.ReLU(name="conv1/relu")],
        "GeluApproximate": lambda: [lambda y: tf.nn.gelu(y, approximate=True)],
        "GeluExact": lambda: [lambda y: tf.nn.gelu(y)],
        "OperationsArithmetic": lambda: [
            lambda y: y / 127.5 - 1.0,
            lambda y: 1.0 - y * 2,
            lambda y: 3.0 / (tf.abs(y) + 1.0),
            lambda y: -y + 0.5,
            lambda y: y**2 + y // 3.0 + y % 2.0,
            lambda y: 2.0 ** (y * 0.01),
        ],
        "OperationsOfTwo": lambda: [
            lambda y: y + L.Conv2D(3, 1)(y),
            lambda y: y * L.Conv2D(3, 1)(y) - y,
            lambda y: tf.maximum(y, 0.1) / (tf.minimum(tf.square(y), 3.0) + 1.0),
            lambda y: tf.add(y, 1.0),
            lambda y: tf.math.multiply(y, [1.0, 2.0, 3.0]),
            lambda y: tf.add_n([y, y]),
        ],
        "OperationsReductions": lambda: [
            lambda y: tf.concat(
                [
                    tf.reduce_mean(y, axis=[1, 2], keepdims=True),
                    tf.reduce_sum(y, [1, 2], True),
                    tf.reduce_max(y, axis=(1, 2), keepdims=True),
                    tf.reduce_min(y, axis=(1, 2), keepdims=True),
                    tf.math.reduce_std(y, axis=(1, 2), keepdims=True),
                    tf.math.reduce_variance(y, axis=(1, 2), keepdims=True),
                ],
                axis=-1,
            ),
            lambda y: tf.reduce_mean(y, [1, 2]),
        ],
        "OperationsBackend": lambda: [
            lambda y: K.concatenate([K.mean(y, axis=-1, keepdims=True), K.max(y, axis=-1, keepdims=True)]),
            lambda y: K.sigmoid(y) * y,
            lambda y: K.clip(y, -1, 1) + K.abs(y),
            lambda y: K.sum(y, axis=1),
            lambda y: K.l2_normalize(y, axis=-1),
            lambda y: K.square(K.expand_dims(y, 1)),
            lambda y: K.squeeze(y, 1),
        ],
        "OperationsActivations": lambda: [
            tf.nn.relu,
            tf.nn.leaky_relu,
            lambda y: tf.nn.leaky_relu(y, alpha=0.3),
            tf.nn.elu,
            tf.nn.selu,
            tf.nn.swish,
            tf.nn.softplus,
            tf.nn.softsign,
            tf.nn.relu6,
            tf.tanh,
            tf.sigmoid,
            lambda y: tf.nn.softmax(y, axis=1),
            lambda y: tf.nn.log_softmax(y),
        ],
        "OperationsFunctions": lambda: [
            lambda y: tf.exp(y * 0.01),
            lambda y: tf.sqrt(y) + tf.math.rsqrt(y) + tf.math.log(y + 1.0),
            lambda y: tf.pow(y, 2.0),
            lambda y: tf.clip_by_value(y, 0.0, 2.0),
            lambda y: tf.sign(y - 0.5) + tf.floor(y) + tf.math.ceil(y) + tf.round(y),
            lambda y: tf.sin(y) + tf.cos(y),
            lambda y: tf.math.l2_normalize(y, axis=-1),
            lambda y: tf.math.reciprocal(y + 2.0),
            lambda y: tf.math.erf(y),
        ],
        "OperationsShapes": lambda: [
            lambda y: tf.reshape(y, (-1, 4, 16, 3)),
            lambda y: tf.transpose(y, (0, 2, 1, 3)),
            lambda y: tf.expand_dims(y, 1),
            lambda y: tf.squeeze(y, axis=1),
            lambda y: tf.tile(y, [1, 1, 2, 1]),
            lambda y: tf.pad(y, [[0, 0], [1, 1], [0, 2], [0, 0]]),
            lambda y: tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT"),
            lambda y: tf.reverse(y, axis=[1]),
        ],
        "OperationsStack": lambda: [
            lambda y: tf.stack([y, y * 2.0], axis=1),
            lambda y: tf.reduce_sum(y, axis=1),
            lambda y: tf.concat(tf.split(y, 2, axis=1), axis=-1),
            lambda y: tf.repeat(y, 2, axis=1),
            lambda y: tf.roll(y, 1, axis=1) + y,
            lambda y: tf.gather(y, [0, 2], axis=-1),
        ],
        "OperationsSlices": lambda: [
            lambda y: y[..., ::-1],
            lambda y: y[:, 1:7, :-1],
            lambda y: y[:, :, 2:4, 0],
            lambda y: y[:, None],
            lambda y: y[:, 0],
        ],
        "OperationsWhere": lambda: [
            lambda y: tf.where(y > 0.5, y, 0.1 * y),
            lambda y: tf.cast(y > 0, tf.float32) * y,
            lambda y: tf.cast(y >= 0.1, "float32") + tf.cast(y < 3.0, "float32") * y,
        ],
        "OperationsImage": lambda: [
            lambda y: tf.image.resize(y, (12, 11)),
            lambda y: tf.image.resize(y, (5, 6), method="nearest"),
            lambda y: tf.image.resize(y, (7, 9), method=tf.image.ResizeMethod.BICUBIC),
        ],
        "OperationsAntialias": lambda: [lambda y: tf.image.resize(y, (5, 6), antialias=True)],
        "OperationsFlip": lambda: [tf.image.flip_left_right],
        "OperationsGray": lambda: [tf.image.rgb_to_grayscale],
        "OperationsStandardise": lambda: [tf.image.per_image_standardization],
        "OperationsPool": lambda: [lambda y: tf.nn.max_pool2d(y, 2, 2, "VALID"), lambda y: tf.nn.avg_pool2d(y, 2, 1, "SAME")],
        "OperationsDepth": lambda: [lambda y: tf.nn.space_to_depth(y, 2)],
        "OperationsMatmul": lambda: [square, lambda y: tf.matmul(y, y, transpose_b=True), lambda y: tf.nn.softmax(y)],
        "PreprocessMobileNet": lambda: [keras.applications.mobilenet_v2.preprocess_input],
        "PreprocessResNet": lambda: [keras.applications.resnet50.preprocess_input],
        "PreprocessDenseNet": lambda: [keras.applications.densenet.preprocess_input],
        "PreprocessVGG": lambda: [keras.applications.vgg16.preprocess_input],
        "PreprocessEfficientNet": lambda: [keras.applications.efficientnet.preprocess_input],
        "LambdaLayer": lambda: [L.Lambda(lambda t: t / 255.0)],
        "MixedPrecision": lambda: [
            L.Conv2D(3, 2, dtype="mixed_float16"),
            L.BatchNormalization(dtype="mixed_float16"),
            L.Activation("linear", dtype="float32"),
        ],
    }


def apply(steps, y):
    """Call layers one after another; those in a list side by side, their values joined."""
    for step in steps:
        y = (
            L.Concatenate()([L.Flatten()(layer(y)) for layer in step])
            if isinstance(step, list) and len(step) > 1
            else (step[0] if isinstance(step, list) else step)(y)
        )
    return y


def head(y):
    """Three scores from whatever came out."""
    if len(y.shape) > 2:
        y = L.Flatten()(y) if None not in y.shape[1:] else L.GlobalAveragePooling2D()(y)
    return L.Dense(CLASSES, name="scores")(y)


def functional(steps):
    """Return a functional model of these layers and a head."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    return keras.Model(image, head(apply(steps, image)))


def base(name="base", **options):
    """Return a small model to nest in others."""
    image = keras.Input((SIDE, SIDE, 3))
    y = L.BatchNormalization(**options)(L.Conv2D(4, 3, activation="relu", name="inner_conv")(image))
    return keras.Model(image, y, name=name)


def augmentation():
    """Return a model of data augmentation."""
    return keras.Sequential([L.RandomFlip("horizontal"), L.RandomRotation(0.2)], name="aug")


def nested_models():
    """Networks inside networks, in every way that a tutorial puts them there."""

    def frozen():
        model = base()
        model.trainable = False
        return model

    def partly_frozen():
        model = base()
        model.layers[1].trainable = False
        return model

    def functional_of(*blocks, **call):
        image = keras.Input((SIDE, SIDE, 3))
        y = image
        for block in blocks:
            y = block(y, **call) if isinstance(block, keras.Model) else block(y)
        return keras.Model(image, head(y))

    def twice():
        inner, image = keras.Sequential([L.Conv2D(3, 1), L.ReLU()], name="inner"), keras.Input((SIDE, SIDE, 3))
        return keras.Model(image, head(L.Add()([inner(inner(image)), inner(image)])))

    def shared_layer():
        layer, image = L.Conv2D(3, 3, padding="same"), keras.Input((SIDE, SIDE, 3))
        return keras.Model(image, head(L.Add()([layer(layer(image)), L.Activation("hard_sigmoid")(layer(image))])))

    def ends_in_a_model():
        image = keras.Input((SIDE, SIDE, 3))
        inner = keras.Input((SIDE, SIDE, 3))
        classifier = keras.Model(inner, head(L.Conv2D(2, 3)(inner)), name="classifier")
        return keras.Model(image, classifier(image))

    def ends_in_a_sequential():
        image = keras.Input((SIDE, SIDE, 3))
        return keras.Model(image, keras.Sequential([L.Conv2D(2, 3), L.Flatten(), L.Dense(CLASSES)], name="classifier")(image))

    def deep():
        inner = keras.Sequential(
            [keras.Input((SIDE, SIDE, 3)), base("one"), keras.Sequential([L.Conv2D(2, 2), L.BatchNormalization()], name="two")], name="deep"
        )
        return keras.Sequential([inner, keras.Sequential([L.Flatten(), L.Dense(CLASSES)], name="top")])

    def time_distributed():
        clip = keras.Input((3, SIDE, SIDE, 3))
        return keras.Model(clip, head(L.LSTM(4)(L.TimeDistributed(L.GlobalAveragePooling2D())(L.TimeDistributed(base())(clip)))))

    def time_distributed_layers():
        clip = keras.Input((3, SIDE, SIDE, 3))
        y = L.TimeDistributed(L.DepthwiseConv2D(3, activation="hard_sigmoid"))(
            L.TimeDistributed(L.Conv2D(4, 3, strides=2, activation="relu"))(clip)
        )
        return keras.Model(clip, head(L.Bidirectional(L.GRU(3))(L.TimeDistributed(L.Flatten())(y))))

    def operations_inside():
        image, inner = keras.Input((SIDE, SIDE, 3)), keras.Input((SIDE, SIDE, 3))
        y = L.Conv2D(3, 3, padding="same")(inner / 127.5 - 1.0)
        model = keras.Model(inner, tf.nn.relu(y) + L.Conv2D(3, 3, padding="same", activation="hard_sigmoid")(y), name="ops")
        return keras.Model(image, head(model(image)))

    def frozen_gates():
        image = keras.Input((SIDE, SIDE, 3))
        y = L.LSTM(4, recurrent_activation="hard_sigmoid", trainable=False)(L.Reshape((8, 24))(image))
        return keras.Model(image, head(y))

    def noise_always():
        return functional_of(augmentation(), L.Conv2D(2, 3))

    def any_size():
        image = keras.Input((None, None, 3))
        return keras.Model(image, L.Dense(CLASSES)(L.GlobalMaxPooling2D()(L.Conv2D(4, 3)(L.Activation("hard_sigmoid")(image)))))

    return {
        "SequentialOfBase": lambda: keras.Sequential([base(), L.GlobalAveragePooling2D(), L.Dense(CLASSES)]),
        "SequentialOfFrozenBase": lambda: keras.Sequential([frozen(), L.GlobalAveragePooling2D(), L.Dense(CLASSES)]),
        "FunctionalOfBase": lambda: functional_of(base(), training=False),
        "FunctionalOfFrozenBase": lambda: functional_of(frozen()),
        "FunctionalOfPartlyFrozenBase": lambda: functional_of(partly_frozen()),
        "FunctionalOfAugmentation": noise_always,
        "FunctionalOfAugmentationAndBase": lambda: functional_of(augmentation(), L.Rescaling(2.0, offset=-1), base()),
        "SequentialOfAugmentationAndBase": lambda: keras.Sequential(
            [keras.Input((SIDE, SIDE, 3)), augmentation(), L.Rescaling(2.0, offset=-1), base(), L.Flatten(), L.Dense(CLASSES)]
        ),
        "SequentialInputShape": lambda: keras.Sequential(
            [L.Conv2D(3, 2, input_shape=(SIDE, SIDE, 3)), L.Activation("hard_sigmoid"), L.Flatten(), L.Dense(CLASSES)]
        ),
        "SequentialBuiltLate": lambda: built(keras.Sequential([L.Conv2D(3, 2), L.Flatten(), L.Dense(CLASSES)])),
        "SequentialFixedBatch": lambda: keras.Sequential(
            [L.Conv2D(3, 2, batch_input_shape=(4, SIDE, SIDE, 3)), L.Flatten(), L.Dense(CLASSES)]
        ),
        "ModelCalledTwice": twice,
        "LayerCalledTwice": shared_layer,
        "EndsInAModel": ends_in_a_model,
        "EndsInASequential": ends_in_a_sequential,
        "DeeplyNested": deep,
        "TimeDistributedModel": time_distributed,
        "TimeDistributedLayers": time_distributed_layers,
        "OperationsInsideAModel": operations_inside,
        "FrozenGates": frozen_gates,
        "AnySize": any_size,
        "CompiledWithOwnLoss": compiled,
    }


def built(model):
    """Return the model after its first call."""
    model(np.zeros((1, SIDE, SIDE, 3), "float32"))
    return model


def compiled():
    """Return a model compiled with a loss of its own."""

    def focal(truth, answer):
        return tf.reduce_mean(tf.square(truth - answer))

    model = keras.Sequential([L.Conv2D(3, 3, input_shape=(SIDE, SIDE, 3)), L.GlobalAveragePooling2D(), L.Dense(CLASSES)])
    model.compile("adam", focal, metrics=["accuracy", focal])
    model.fit(images((SIDE, SIDE, 3)), np.eye(CLASSES)[[0, 1, 2, 0]], verbose=0)
    return model


def draw_weights(model, small=False):
    """Weights by the seed, so that nothing is left at zero or one; variances stay positive."""
    random = np.random.RandomState(7)
    for weight in model.weights:
        if not weight.dtype.is_floating:
            continue
        fan = max(1, int(np.prod(weight.shape[:-1]))) if len(weight.shape) > 1 else 4
        values = random.normal(size=weight.shape) / np.sqrt(fan)
        if "variance" in weight.name:
            values = random.uniform(0.5, 2.0, weight.shape) * (1e-5 if "tiny" in weight.name else 1.0)
        elif "gamma" in weight.name:
            values = random.uniform(0.5, 1.0 if small else 1.5, weight.shape)
        weight.assign(values.astype("float32"))


def write(name, build, folder, trained=()):
    """Write one network and its answers."""
    keras.backend.clear_session()
    try:
        model = build()
        if name not in trained:
            draw_weights(model)
        for layer in model._flatten_layers():
            if hasattr(layer, "finalize_state") and layer.weights:
                layer.finalize_state()
        answers = model.predict(images(model.input_shape[1:]), verbose=0)
    except Exception as error:
        print(f"{name}: this TensorFlow cannot build it: {type(error).__name__}: {str(error).splitlines()[0][:150]}")
        return
    np.save(folder / f"{name}.npy", answers)
    for suffix in ("h5", "keras") if VERSION >= (2, 12) else ("h5",):
        try:
            options = {"include_optimizer": False} if suffix == "h5" else {"save_format": "keras_v3" if VERSION == (2, 12) else "keras"}
            model.save(folder / f"{name}.{suffix}", **options)
        except Exception as error:
            print(f"{name}.{suffix}: this TensorFlow cannot save it: {type(error).__name__}: {str(error).splitlines()[0][:150]}")
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def application(name):
    """Return a network of keras.applications with random weights."""
    side = APPLICATIONS[name]
    return getattr(keras.applications, name)(input_shape=(side, side, 3), weights=None, classes=CLASSES)


def main():
    """Write the networks asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("layers", "application"))
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("TensorFlow", tf.__version__)
    if options.what == "application":
        for name in options.names or APPLICATIONS:
            write(name, lambda name=name: application(name), options.out)
        return
    builders = {name: lambda name=name: functional(layers_of_images()[name]()) for name in layers_of_images()}
    builders.update(nested_models())
    for name in options.names or builders:
        write(name, builders[name], options.out, trained=("CompiledWithOwnLoss",))


if __name__ == "__main__":
    main()
