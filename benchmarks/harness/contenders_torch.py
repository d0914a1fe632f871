"""The PyTorch contender of the search benchmarks: the same network, loss and optimiser, in the loop that PyTorch toolboxes write.

torch is no dependency of this package: it is imported by name when there, so that types are checked with and without it.
"""

import os
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.harness.work import COST, LEARNING_RATE, Work
from nc_tf.errors import InputError

LINEAR_SCALE = float(-np.log(1e-7))  # as in nc_tf.inversion.step, which would load TensorFlow
EPSILON = 1e-7
LABEL = 0  # what is searched for; it takes no part in how long that takes


def available() -> bool:
    """Return whether torch is installed."""
    return find_spec("torch") is not None


def build(work: Work, weights: Sequence[np.ndarray] | None) -> Any:
    """Return the network: raw images (B, C, H, W) -> logits (B, K)."""
    nn = import_module("torch").nn
    layers: list[Any] = []
    channels, side = 3, work.size
    for filters in (32, 64, 128):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.Conv2d(filters, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = filters, (side - 2) // 2
    layers += [nn.Flatten(), nn.Linear(side * side * channels, 512), nn.ReLU(), nn.Linear(512, work.labels)]
    network = nn.Sequential(*layers).eval().requires_grad_(False)
    if weights is not None:
        _copy_weights(network, weights, (side, side, channels))
    return network


def _copy_weights(network: Any, weights: Sequence[np.ndarray], flattened: tuple[int, int, int]) -> None:
    """The first dense layer reads (H, W, C) in Keras and (C, H, W) here."""
    first_dense = True
    for parameter, values in zip(network.parameters(), weights, strict=True):
        if values.ndim == 2 and first_dense:
            values = values.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(values.shape)
            first_dense = False
        parameter.copy_(from_keras(values))


def from_keras(values: np.ndarray) -> Any:
    """A tensor of weights, those of kernels (h, w, in, out) and (in, out) transposed to (out, in, h, w) and (out, in)."""
    return import_module("torch").from_numpy(np.ascontiguousarray(np.moveaxis(values, (-1, -2), (0, 1)) if values.ndim > 1 else values))


class TorchLoop:
    """One label, one forward and one backward a minibatch, `torch.optim.Adam` on two parameters, and a host read after each.

    Attributes:
        cost: weight of the mask's norm.
    """

    cost = COST

    def __init__(self, work: Work, precision: str, layout: str, weights: Sequence[np.ndarray] | None = None) -> None:
        """Without `weights` they are torch's own random ones: the same time and memory, and no TensorFlow to read them with."""
        torch = import_module("torch")
        self.torch, self.work = torch, work
        self.threads = os.cpu_count() or 1
        self.trials: dict[int, float] = {}
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = getattr(torch, precision)
        self.layout = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self.network = self.build(weights).to(self.device, self.dtype, memory_format=self.layout)
        # Images lie in memory as each layout wants them, so that neither pays for a transposition in the loop.
        self.images = np.ascontiguousarray(np.moveaxis(work.images, -1, -3)) if layout == "nchw" else work.images
        self.channels_last = layout == "channels_last"
        self.reset()

    def build(self, weights: Sequence[np.ndarray] | None) -> Any:
        """The network: raw images (B, C, H, W) -> logits (B, K)."""
        return build(self.work, weights)

    def class_losses(self, logits: Any) -> Any:
        """(B, K) -> (B,)."""
        return LINEAR_SCALE * (1.0 - logits.softmax(1)[:, LABEL])

    def reset(self) -> None:
        """Go back to the start."""
        mask, pattern = self.work.start()
        self.rounds = 0
        self.z_mask = self._parameter(mask[None])
        self.z_pattern = self._parameter(pattern.transpose(2, 0, 1) / 255.0)
        self.optimizer = self.torch.optim.Adam([self.z_mask, self.z_pattern], lr=LEARNING_RATE, betas=(0.5, 0.9), eps=1e-7)

    def choose_threads(self) -> None:
        """Take the faster of one thread and one a core, and begin again: the contender is the best that PyTorch can do here."""
        for threads in dict.fromkeys((os.cpu_count() or 1, 1)):
            self.threads = threads
            self()  # not counted: buffers, and threads that start
            began = time.perf_counter()
            self()
            self.trials[threads] = round(time.perf_counter() - began, 4)
        self.threads = min(self.trials, key=self.trials.__getitem__)
        self.reset()

    def _parameter(self, unit: np.ndarray) -> Any:
        z = np.arctanh((unit - 0.5) * (2.0 - EPSILON)).astype(np.float32)
        return self.torch.nn.Parameter(self.torch.from_numpy(z).to(self.device))

    def _batch(self, rows: np.ndarray) -> Any:
        batch = self.torch.from_numpy(self.images[rows]).to(self.device)
        return (batch.movedim(-1, -3) if self.channels_last else batch).float()

    def answers(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities (B, K) for clean images, to compare with Keras's."""
        with self.torch.no_grad():
            return self.network(self._batch(rows).to(self.dtype)).float().softmax(1).cpu().numpy()

    def check_answers(self, model: Any) -> float:
        """The largest difference from the answers of the Keras model to the first minibatch.

        Raises:
            InputError: it is above the tolerance, and the times would compare two different networks.
        """
        rows = self.work.rows(0)[0]
        tolerance = 1e-4 if self.device == "cpu" else 2e-2  # on a GPU both round to TF32
        wanted = np.asarray(model(self.work.images[rows].astype(np.float32), training=False))
        difference = float(np.abs(self.answers(rows) - wanted).max())
        if not difference <= tolerance:
            raise InputError(
                f"torch's network differs from Keras's by {difference:.1e}: expected at most {tolerance:g}; "
                f"bring {type(self).__name__}.build in line with the Keras network {model.name}"
            )
        return difference

    def __call__(self) -> float:
        """One round; its mean class loss."""
        torch = self.torch
        torch.set_num_threads(self.threads)  # of the whole process, so every contender sets its own
        losses = []
        for rows in self.work.rows(self.rounds):
            images = self._batch(rows)
            mask = torch.tanh(self.z_mask) / (2.0 - EPSILON) + 0.5
            pattern = (torch.tanh(self.z_pattern) / (2.0 - EPSILON) + 0.5) * 255.0
            logits = self.network((images * (1.0 - mask) + mask * pattern).to(self.dtype)).float()
            ce = self.class_losses(logits)
            reg = mask.abs().sum()
            loss = (ce + self.cost * reg).sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(ce.mean().item())
            reg.item(), (logits.argmax(1) == LABEL).float().mean().item()
        self.rounds += 1
        return float(np.mean(losses))


def checked(contender: TorchLoop, model: Any) -> TorchLoop:
    """The same, which answers as the Keras model does whose weights it has, with the number of threads that suits it best."""
    if contender.dtype is contender.torch.float32:
        contender.check_answers(model)
    contender.choose_threads()
    return contender
