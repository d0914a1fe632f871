"""Step 0: training of a CNN + LSTM on clean clips.

    python video/0_train_clean.py                                  rendered clips, no download
    python video/0_train_clean.py --data_dir data/ucf101           real ones (`nc-tf data ucf101`)

Real clips are few: the frames are trained on first, with data augmentation (mirrored, cropped and mixed), then their order. Rendered
clips are used as they are, because a mirrored one would belong to another class.
"""

import argparse
import sys
from typing import Any

import common

from nc_tf.cli.options import positive

EPOCHS_RENDERED, REAL = 6, common.TRAINING


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0 when done, 2 for bad input."""
    parser = common.parser(__doc__)
    parser.add_argument("--output_model_path", default="models/cnnlstm_clean.keras", metavar="FILE")
    parser.add_argument("--backbone", default="small", help="small, resnet18, or a network of keras.applications")
    parser.add_argument("--frames", type=positive, help="frames a clip (default: those of the data, 16 for videos)")
    parser.add_argument("--size", type=positive, help="height and width of a frame in pixels (default: those of the data, 64 for videos)")
    epochs = f"epochs (default: {EPOCHS_RENDERED}, for real clips {REAL['epochs']} after those of frames)"
    parser.add_argument("--nb_epochs", type=positive, help=epochs)
    parser.add_argument("--frame_epochs", type=positive, default=REAL["frame_epochs"], help="for real clips: passes over all frames")
    parser.add_argument("--batch_size", type=positive, default=REAL["batch_size"])
    parser.add_argument("--lr", type=float, default=REAL["learning_rate"])
    arguments = parser.parse_args(argv)
    return common.run("0_train_clean.py", lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    """Train, save, and print the accuracy; return the exit code."""
    import keras

    from nc_tf.attacks.patch import patch
    from nc_tf.models.networks.cnn_lstm import cnn_lstm
    from nc_tf.models.saving import check_model_file, save_model
    from nc_tf.training.clips import train_clips
    from nc_tf.training.injection import inject

    out = check_model_file(arguments.output_model_path)
    training, test = common.read_clips(arguments, (arguments.frames, arguments.size, arguments.size, 3))
    keras.utils.set_random_seed(arguments.seed)
    clip_shape = training.images.shape[1:]
    model = cnn_lstm(common.count_classes(training, test), clip_shape, backbone=arguments.backbone)
    pairs = (training.images, training.labels), (test.images, test.labels)
    fit: dict[str, Any] = {"batch_size": arguments.batch_size, "learning_rate": arguments.lr, "seed": arguments.seed, "verbose": 2}
    if arguments.data_dir == common.SYNTHETIC:
        nothing = patch(clip_shape[1:], 0)  # at a rate of zero no clip is stamped
        accuracy = inject(model, *pairs, nothing, rate=0.0, epochs=arguments.nb_epochs or EPOCHS_RENDERED, **fit)[-1].clean_accuracy
    else:
        fit |= {"frame_epochs": arguments.frame_epochs, "frame_learning_rate": REAL["frame_learning_rate"]}
        accuracy = train_clips(model, *pairs, epochs=arguments.nb_epochs or REAL["epochs"], **fit)
    save_model(model, out)
    print(f"clean accuracy {accuracy:.4f}; written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
