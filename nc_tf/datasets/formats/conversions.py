"""Messages on formats that are not read, with the command that converts them."""

import shlex
from pathlib import Path
from typing import NoReturn

from nc_tf.errors import InputError
from nc_tf.results import Unit

PICKLED = "is a pickle, which can run code while it is read: expected {expected}; if you trust who made it: {line}"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z")
PICKLES = (".p", ".pkl", ".pickle")
# The first byte of protocols 2 to 5, which NumPy's arrays are pickled with.
PICKLE_MARK, PROTOCOLS = 0x80, (2, 3, 4, 5)

# The paths are arguments, so that no file name becomes code.
FROM_PICKLE = (
    "import pickle, sys, numpy as np; d = pickle.load(open(sys.argv[1], 'rb')); np.savez(sys.argv[2], x=d['features'], y=d['labels'])"
)
FROM_BATCHES = (
    "import glob, pickle, sys, numpy as np; "
    "r = lambda n: [pickle.load(open(f, 'rb'), encoding='bytes') for f in sorted(glob.glob(glob.escape(sys.argv[1]) + '/' + n))]; "
    "x = lambda p: np.concatenate([b[b'data'] for b in p]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1); "
    "y = lambda p: np.concatenate([b[b'{labels}'] for b in p]); t, v = r('{train}'), r('{test}'); "
    "np.savez(sys.argv[2], x_train=x(t), y_train=y(t), x_test=x(v), y_test=y(v))"
)
CIFAR = {
    "cifar10.npz": {"train": "data_batch_*", "test": "test_batch", "labels": "labels"},
    "cifar100.npz": {"train": "train", "test": "test", "labels": "fine_labels"},
}


def refuse_pickles(folder: Path, expected: str) -> None:
    """Refuse a folder of pickles: CIFAR's python batches, or Udacity's train.p.

    Raises:
        InputError: it is one; the message has the command that converts it.
    """
    for out, names in CIFAR.items():
        if any(file.is_file() and _is_pickle(file) for file in folder.glob(names["train"])):
            line = _python(FROM_BATCHES.format(**names), str(folder), out)
            raise InputError(f"{folder} {PICKLED.format(expected=expected, line=line)}")
    pickles = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICKLES and file.is_file())
    if pickles and not any(file.is_dir() for file in folder.iterdir()):
        refuse_other(pickles[0], expected, Unit.IMAGE.many)


def refuse_other(path: Path, expected: str, many: str) -> NoReturn:
    """Refuse a file of a kind that is not read.

    Args:
        path: the file.
        expected: the formats that are read, in words.
        many: "images" or "clips".

    Raises:
        InputError: always; the message says how to convert the file, where there is a way.
    """
    suffix = path.suffix.lower()
    if suffix in PICKLES or _is_pickle(path):
        if any(path.match(names[part]) for names in CIFAR.values() for part in ("train", "test")):
            refuse_pickles(path.parent, expected)
        line = _python(FROM_PICKLE, str(path), f"{path.stem}.npz")
        raise InputError(f"{path} {PICKLED.format(expected=expected, line=line)}")
    advice = f"save the {many} in one of these"
    if suffix == ".npy":
        advice = "np.savez('data.npz', x=np.load('images.npy'), y=np.load('labels.npy')) puts images and labels into one file"
    elif suffix in ARCHIVES:
        advice = "unpack it, and give the unpacked folder"
    elif suffix == ".csv" and many == Unit.IMAGE.many:
        advice = "give the folder that holds the table and its pictures, as with Test.csv of GTSRB"
    raise InputError(f"{path} ends in {path.suffix or 'no suffix'!r}: expected {expected}; {advice}")


def _python(code: str, *arguments: str) -> str:
    return f'python -c "{code}" {shlex.join(arguments)}'


def _is_pickle(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == PICKLE_MARK and head[1] in PROTOCOLS
