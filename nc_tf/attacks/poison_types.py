"""The registry of attacks: `nc-tf inject --poison-type NAME` plants what the line NAME describes.

The names and settings are those of NFT's code; the file of each attack says what differs from it. An attack's module is imported when the
attack is used, so that a list of the names loads nothing.
"""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nc_tf.results import Backdoor


@dataclass(frozen=True)
class Attack:
    """A line of the registry.

    Attributes:
        function: "module:name" of a function of image shape (H, W, C), target label and seed. It returns a list: the backdoor, then the
            covers that are taught beside it.
        rate: probability that a drawn image is stamped, among those that carry the trigger; None is the paper's rate.
    """

    function: str
    rate: float | None = None

    def __call__(self, image_shape: tuple[int, int, int], target: int, seed: int) -> "list[Backdoor]":
        """Return the backdoor, and behind it its covers.

        Args:
            image_shape: (H, W, C).
            target: the target label.
            seed: of what the attack draws.

        Raises:
            InputError: the attack does not suit such images.
        """
        return list(resolve_name(self.function)(image_shape, target, seed))


POISON_TYPES = {
    "badnets": Attack("nc_tf.attacks.patch:badnets"),
    "blend": Attack("nc_tf.attacks.blend:published"),
    "SIG": Attack("nc_tf.attacks.sig:published", rate=0.5),
    "TrojanNet": Attack("nc_tf.attacks.trojan:published"),
    "CLB": Attack("nc_tf.attacks.corners:published", rate=0.5),
    "WaNet": Attack("nc_tf.attacks.warp:published", rate=0.3),  # a third of these images carry the backdoor, the others a cover
}
