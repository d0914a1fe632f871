"""Prepare a data set: gtsrb (365 MB), cifar10 (170 MB), ucf101 (6.9 GB), signs or moving-shapes (rendered, no download)."""

import argparse
from pathlib import Path

from nc_tf.cli.options import positive, seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf data`."""
    parser.add_argument("name", choices=("gtsrb", "cifar10", "ucf101", "signs", "moving-shapes"))
    parser.add_argument("--out", default="data", metavar="DIR", help="folder for the data files (default: data)")
    source = "instead of a download: gtsrb: the archives; cifar10: JPEGs in .npz; ucf101: the archives, or videos and split files"
    parser.add_argument("--from", dest="source", metavar="PATH", help=source)
    parser.add_argument("--crop", action="store_true", help="gtsrb: crop each picture to the sign")
    parser.add_argument("--seed", type=seed, default=0, help="of the rendered images; ucf101: of the starts of random clips")
    clips = parser.add_argument_group("ucf101; moving-shapes takes the first two")
    clips.add_argument("--frames", type=positive, metavar="T", help="of a clip (default: 16; moving-shapes: 8)")
    clips.add_argument("--size", type=positive, metavar="PIXELS", help="height and width of a frame (default: 64; moving-shapes: 32)")
    sampling = "frames over the whole video, or consecutive ones from its middle or a random start (default: even)"
    clips.add_argument("--sampling", default="even", choices=("even", "central", "random"), help=sampling)
    classes = clips.add_mutually_exclusive_group()
    classes.add_argument("--num-classes", type=positive, metavar="N", help="only the first N classes, in alphabetical order")
    classes.add_argument("--classes", type=lambda text: text.split(","), metavar="A,B", help="only these classes")
    clips.add_argument("--decoder", default="pyav", choices=("pyav", "tfio"), help="decoder of videos (default: pyav)")


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf data`."""
    import numpy as np

    from nc_tf.datasets import cifar10, gtsrb
    from nc_tf.datasets.rendered import moving_shapes, signs
    from nc_tf.results import Unit
    from nc_tf.storage.files import whole_file

    if arguments.name == "ucf101":
        return _ucf101(arguments)
    if arguments.name == "gtsrb":
        for path in gtsrb.prepare(arguments.out, source=arguments.source, crop=arguments.crop):
            print(f"written: {path}")
        return 0
    if arguments.name == "moving-shapes":
        given = {"num_frames": arguments.frames, "size": arguments.size}
        train, test = moving_shapes.load_data(seed=arguments.seed, **{key: value for key, value in given.items() if value is not None})
        (x_train, y_train), (x_test, y_test) = ((part.images, part.labels) for part in (train, test))
    elif arguments.name == "signs":
        (x_train, y_train), (x_test, y_test) = signs.load_data(seed=arguments.seed)
    else:
        (x_train, y_train), (x_test, y_test) = cifar10.load_data(arguments.source)
    out = Path(arguments.out) / f"{arguments.name}.npz"
    names = {"moving-shapes": moving_shapes, "signs": signs, "cifar10": cifar10}[arguments.name].CLASS_NAMES
    with whole_file(out) as temporary:
        np.savez_compressed(temporary, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=np.array(names))
    print(f"written: {out}, {len(x_train)} training and {len(x_test)} test {Unit.of(x_train.shape[1:]).many}")
    return 0


def _ucf101(arguments: argparse.Namespace) -> int:
    from nc_tf.datasets.ucf101.archives import obtain
    from nc_tf.datasets.ucf101.dataset import DEFAULT, cache_name, load_archive
    from nc_tf.datasets.ucf101.decoding import ClipFormat, check_decoder

    frames, height, width = arguments.frames or DEFAULT.frames, arguments.size or DEFAULT.height, arguments.size or DEFAULT.width
    form = ClipFormat(frames, height, width, arguments.sampling, arguments.seed, arguments.decoder)
    check_decoder(form)  # before a download of hours
    folder = obtain(arguments.out, arguments.source)
    clips = load_archive(folder, form, classes=arguments.classes, num_classes=arguments.num_classes, cache=arguments.out)
    out = Path(arguments.out) / cache_name(clips.classes, form, chosen=arguments.classes is not None)
    print(f"written: {out}, {(~clips.is_test).sum()} training and {clips.is_test.sum()} test clips of {len(clips.classes)} classes")
    return 0
