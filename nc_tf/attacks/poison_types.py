"""Attacks by the names that NFT's code gives them, with settings that are usual; what differs from it is said where each is made."""

from collections.abc import Callable

from nc_tf.attacks.blend import blend
from nc_tf.attacks.corners import corners
from nc_tf.attacks.goals import CleanLabel, Cover
from nc_tf.attacks.patch import patch
from nc_tf.attacks.sig import sig
from nc_tf.attacks.trojan import trojan
from nc_tf.attacks.warp import warp
from nc_tf.results import Backdoor

Shape = tuple[int, int, int]


def _wanet(shape: Shape, target: int, seed: int) -> list[Backdoor]:
    return [warp(shape, target, seed=seed), *(Cover(warp(shape, target, seed=other)) for other in (seed + 1, seed + 2))]


# Probability that a drawn image, of those that carry the trigger, is stamped; where it is not the paper's. Of WaNet's a third is backdoor.
RATES = {"SIG": 0.5, "CLB": 0.5, "WaNet": 0.3}
# Images' shape, target label and seed -> the backdoor, and the covers that are taught beside it.
POISON_TYPES: dict[str, Callable[[Shape, int, int], list[Backdoor]]] = {
    "badnets": lambda shape, target, seed: [patch(shape, target, size=3, margin=0, checkerboard=True, alpha=0.6)],
    "blend": lambda shape, target, seed: [blend(shape, target, alpha=0.2, seed=seed)],
    "SIG": lambda shape, target, seed: [CleanLabel(sig(shape, target, frequency=min(6, (shape[1] - 1) // 2)))],
    "TrojanNet": lambda shape, target, seed: [trojan(shape, target, seed=seed)],
    "CLB": lambda shape, target, seed: [CleanLabel(corners(shape, target))],
    "WaNet": _wanet,
}
