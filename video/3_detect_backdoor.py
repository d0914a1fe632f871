"""Step 3: search for a trigger of every class, with a verdict on the smallest one.

    python video/3_detect_backdoor.py
    python video/3_detect_backdoor.py --data_dir data/ucf101 --backdoor_model_path suspicious.keras

Exit code 0: no outlier; 1: backdoor suspected; 2: bad input or failure; 3: inconclusive. The folder has the files of `nc-tf scan`
(verdict.json, report.html, log.txt), with trigger_target_<label>.npz and .png for every class. A stopped scan is resumed.
"""

import argparse
import sys

import common


def main(argv: list[str] | None = None) -> int:
    """Run the script, and return its exit code."""
    parser = common.parser(__doc__)
    parser.add_argument("--backdoor_model_path", default="models/backdoor_model_nc.keras", metavar="FILE")
    parser.add_argument("--output_dir", default="results_detection", metavar="DIR")
    common.add_search_options(parser)
    arguments = parser.parse_args(argv)
    return common.run("3_detect_backdoor.py", lambda: detect(arguments))


def detect(arguments: argparse.Namespace) -> int:
    """Scan, save, and print the verdict; return the exit code."""
    from nc_tf.cli.scan import exit_code, print_result
    from nc_tf.models.loading.load import load_model

    model = load_model(arguments.backdoor_model_path)
    _, test = common.read_clips(arguments, model.input_shape[1:])
    result = common.detected(arguments, model, test, arguments.output_dir)
    for entry in result.labels:
        common.write_trigger(arguments.output_dir, entry.trigger)
    print_result(result, test.names_for(model.output_shape[-1]))
    print(f"report: {arguments.output_dir}/report.html")
    return exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
