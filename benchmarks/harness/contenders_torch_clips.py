"""The PyTorch contender for clips: `cnn_lstm` with its small backbone in torch.nn, in the loop of contenders_torch.py."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.harness.contenders_torch import LABEL, TorchLoop, from_keras
from benchmarks.harness.work import Work


class ClipLoop(TorchLoop):
    """With the loss and the cost that preset robust begins with."""

    cost = 1e-3

    def build(self, weights: Sequence[np.ndarray] | None) -> Any:
        """The network: raw clips (B, T, C, H, W) -> logits (B, K)."""
        return build(self.work, weights)

    def class_losses(self, logits: Any) -> Any:
        """(B, K) -> (B,)."""
        return -logits.log_softmax(1)[:, LABEL]


def build(work: Work, weights: Sequence[np.ndarray] | None) -> Any:
    """The network without dropout and softmax; weights as Keras's `get_weights` gives them."""
    torch: Any = import_module("torch")
    module: Any = torch.nn.Module

    class CnnLstm(module):
        """All N * T frames, and changes, go through the convolutions in one call."""

        def __init__(self) -> None:
            super().__init__()
            self.frames = torch.nn.Sequential(*small_features(work.size))
            self.lstm = torch.nn.LSTM(160, 256, num_layers=2, batch_first=True)
            self.answers = torch.nn.Linear(256, work.labels)

        def forward(self, clips: Any) -> Any:
            # Sums keep the order of a tensor in memory, and flattening copies nothing of what they make.
            now, change = clips[:, 1:] / 127.5 - 1.0, (clips[:, 1:] - clips[:, :-1]) / 127.5
            features = self.frames(torch.cat([now.flatten(0, 1), change.flatten(0, 1)], 1))
            return self.answers(self.lstm(features.unflatten(0, now.shape[:2]))[0][:, -1])

    network = CnnLstm().eval().requires_grad_(False)
    if weights is not None:
        _copy_weights(network, weights)
    return network


def small_features(size: int) -> list[Any]:
    """`nc_tf.models.networks.cnn_lstm.small_features` for frames of an even number of pixels."""
    nn = import_module("torch").nn

    def convolved(channels: int, filters: int, kernel: int = 3, **settings: int) -> list[Any]:
        # Keras's epsilon; torch's is 1e-5.
        return [nn.Conv2d(channels, filters, kernel, bias=False, **settings), nn.BatchNorm2d(filters, eps=1e-3), nn.ReLU()]

    # Keras's padding "same" of a convolution with strides 2 is one pixel before and two behind, which Conv2d cannot say.
    layers, channels, side = [nn.ZeroPad2d((1, 2, 1, 2)), *convolved(6, 24, 5, stride=2)], 24, size // 2
    for stage in ((48, 64), (96, 128), (160,)):
        if side > 4:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        for filters in stage:
            layers += convolved(channels, filters, padding=1)
            channels = filters
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _copy_weights(network: Any, weights: Sequence[np.ndarray]) -> None:
    """Both libraries list them in the same order, gates of an LSTM too; but Keras's LSTM has one bias where torch's has two."""
    wanted = iter(weights)
    for name, values in network.state_dict().items():
        if name.startswith("lstm.bias_hh"):
            values.zero_()
        elif not name.endswith("num_batches_tracked"):
            values.copy_(from_keras(next(wanted)))
