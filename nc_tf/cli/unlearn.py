"""Fine-tune the flagged triggers out of a model, and measure the saved file.

Exit code 0: the repaired model is written; 2: bad input or failure.
"""

import argparse

from nc_tf.cli.options import add_model_options, preprocessing_of, seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf unlearn`."""
    parser.add_argument("model", metavar="MODEL", help="the infected model")
    parser.add_argument("data", metavar="DATA", help="clean raw images; measured on X_test, or on a fifth where there is one set only")
    parser.add_argument("--scan", required=True, metavar="DIR", help="the scan folder with the flagged triggers")
    parser.add_argument("--out", required=True, metavar="FILE", help=".keras or .h5")
    parser.add_argument("--true-trigger", metavar="FILE", help="an .npz trigger to measure as well")
    parser.add_argument("--fraction", type=float, default=0.1, help="share of the training images used")
    parser.add_argument("--ratio", type=float, default=0.2, help="share of them that is stamped")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=seed, default=0)
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf unlearn`."""
    from nc_tf.datasets.files import read_both
    from nc_tf.errors import InputError
    from nc_tf.mitigation.saving import save_mitigation, table
    from nc_tf.mitigation.unlearning import unlearn
    from nc_tf.models.loading import load_model
    from nc_tf.models.saving import check_model_file
    from nc_tf.scan_folder import ScanFolder
    from nc_tf.trigger_file import load_trigger

    check_model_file(arguments.out)
    triggers = ScanFolder(arguments.scan).flagged_triggers()
    if not triggers:
        raise InputError(f"{arguments.scan} flags no label: expected a scan that suspects a backdoor; there is nothing to unlearn")
    known = {"true": load_trigger(arguments.true_trigger)[0]} if arguments.true_trigger else {}
    model = load_model(arguments.model, trust_model=arguments.trust_model)
    train, test = read_both(arguments.data, seed=arguments.seed, image_shape=model.input_shape[1:])
    preprocess = preprocessing_of(arguments)
    mitigation = unlearn(
        model,
        train.images,
        train.labels,
        triggers,
        test=(test.images, test.labels),
        known_triggers=known,
        fraction=arguments.fraction,
        ratio=arguments.ratio,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        intensity_range=preprocess,
        seed=arguments.seed,
    )
    saved = save_mitigation(mitigation, arguments.out, (test.images, test.labels), preprocess, trust_model=arguments.trust_model)
    print(table(saved))
    print(f"written: {arguments.out}, and mitigation.json beside it")
    return 0
