"""The options of coder-eval."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from coder_engine.cli.command import fraction, parser_of, seed, whole
from coder_engine.cli.engine_options import BY_ORDER, add_engine_options
from coder_engine.evaluate.methods import FEW_SHOT, ZERO_SHOT
from coder_engine.evaluate.tables import FORMATS

METHODS = (*ZERO_SHOT, *FEW_SHOT)
FALSE_ACCEPTS = 0.05
_FEW_SHOT_ONLY = {"seeds": 1, "val": None, "norm": "both", "texts": None, "text_count": None, "no_zero_shot": False}
"""Options, with their defaults, that change nothing where no method of them is measured."""
_IMAGES_ONLY = {"backend": "auto", "device": "auto", "precision": "auto", "by_order": False, "no_cache": False}
"""The same where no image is read."""

EPILOG = """\
methods, as --methods names them:
   clip           one sentence a class, the paper's CLIP
   clip-ensemble  the mean of each class's name sentences
   vcd            the mean of each class's attribute texts
   coder          stage 1 alone
   coder-star     both stages: every image is reranked by one-to-one texts
   votes          the rerank by duels won, not by the sum of their gaps
   gated          the rerank only where the two best probabilities are closer than the margin
   adapter        what coder-fit wrote into the weight file, over stage 1
few-shot, fitted here to --support:
   nearest-mean   the class whose support images' mean is nearest
   tip-adapter    a cache of the support, by image features
   tip-x          Tip-Adapter with affinities through texts
   coder-adapter  the paper's, affinities by CODER (Eq. 16-20)
   spectral       the form that coder-fit fits, here to one view of each image; coder-fit
                  averages eight views of a support image

rows of --texts-ablation: P its names, Att attributes, Ana analogous classes, Syn synonyms of a
class as they come in; P+Att+Ana+Syn+1v1 reranks by one-to-one texts, too.

columns: gain is over the first row, on the same images; macro is the mean of the classes' own
accuracies; 95% is Wilson's interval of top-1, all other intervals are bootstrap ones, over
images; ECE is how far confidence is from accuracy, over 15 bins. The stored temperature is in the
ECE of the method that the engine answers by, to whose scores it was fitted: adapter where there is
one, else gated where the weight file has a margin, else coder-star. Other rows are without one.

examples:
  coder-eval photos/ --engine model.onnx       one folder a class: the paper's Table 1 for you
  coder-eval photos/ --engine model.onnx --texts-ablation --report report.html
  coder-eval photos/ --engine model.onnx --support train/ --shots 1,2,4,8,16 --seeds 3
  coder-eval val/ --engine model.onnx --fit-temperature --unknown-from others/ --false-accepts 0.05
  coder-eval FEATURES.npz --texts TEXTS.npz --shots 1,4,16        no images, no engine

exit codes: 0 all well, 1 could not run, 2 some images could not be read, 130 interrupted
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked against one another. Wrong usage and --help end in SystemExit, as argparse does."""
    parser = _parser()
    args = parser.parse_args(argv)
    args.command = shlex.join(["coder-eval", *(sys.argv[1:] if argv is None else argv)])
    if args.format is None:
        suffix = Path(args.out or "").suffix.lower().removeprefix(".")
        args.format = suffix if suffix in FORMATS else "table"
    args.features_only = args.data.suffix.lower() == ".npz"
    if not args.features_only and args.engine is None:
        parser.error("images need --engine FILE; a features file (.npz) goes without")
    fits = args.fit_temperature or args.fit_margin or args.unknown_from is not None
    if fits and args.engine is None and args.weights is None:
        parser.error("what is fitted is stored in a weight file: give --engine or --weights")
    if args.unknown_from is not None and args.engine is None:
        parser.error("--unknown-from reads images: give --engine")
    if args.support is not None and not args.shots:
        parser.error("--support needs --shots, such as --shots 1,2,4,8,16")
    if args.shots and not args.features_only and args.support is None:
        parser.error("--shots on images needs --support FOLDER of labelled images that are not in DATA")
    if not args.features_only and not args.shots and (named := _named(args, FEW_SHOT)):
        parser.error(f"--methods {named} is few-shot: it needs --support and --shots, such as --shots 1,2,4,8,16")
    if args.features_only and args.unknown_from is None:
        for name, default in _IMAGES_ONLY.items():
            if getattr(args, name) != default:
                parser.error(f"--{name.replace('_', '-')} is for images, and features (.npz) are read: leave it out")
    if args.margin is not None and args.methods is not None and "gated" not in args.methods:
        parser.error("--margin is of the method gated, which --methods leaves out")
    if not args.features_only and not args.shots:
        for name, default in _FEW_SHOT_ONLY.items():
            if getattr(args, name) != default:
                parser.error(f"--{name.replace('_', '-')} is for few-shot methods: it needs --support and --shots")
    if args.false_accepts != FALSE_ACCEPTS and args.unknown_from is None:
        parser.error("--false-accepts is of --unknown-from FOLDER, which is missing")
    if args.engine is None and args.weights is None:
        if named := _named(args, [name for name in ZERO_SHOT if name != "clip"]):
            parser.error(f"--methods {named} measures a weight file's texts: give --engine or --weights")
        if args.texts_ablation:
            parser.error("--texts-ablation measures a weight file's texts: give --engine or --weights")
    return args


def _named(args: argparse.Namespace, among: Collection[str]) -> str:
    """The first of some methods that --methods asks for."""
    return next((name for name in args.methods or () if name in among), "")


def _parser() -> argparse.ArgumentParser:
    description = "Measure CLIP, VCD, CODER and few-shot adapters on labelled images, or on features of them."
    parser = parser_of("coder-eval", description, epilog=EPILOG)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of class folders, csv of path,label, or features .npz")
    add("--by-order", action="store_true", help=BY_ORDER)
    add("--no-cache", action="store_true", help="neither use nor keep features in the user's cache folder")
    add_engine_options(parser, required=False)
    _add_measure(parser.add_argument_group("what is measured"))
    _add_few_shot(parser.add_argument_group("few-shot"))
    _add_fits(
        parser.add_argument_group("fitting (DATA is what is fitted on: give validation images, never test images)")
    )
    _add_output(parser.add_argument_group("output"))
    return parser


def _add_measure(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--methods", type=_methods, metavar="LIST", help="comma-separated, see below (default: all that can run)")
    add("--texts-ablation", action="store_true", help="also stage 1 as the kinds of text come in (the paper's Table 2)")
    gate = (
        "of the method gated: rerank only below this difference of probabilities (default: the weight file's, else 0.2)"
    )
    add("--margin", type=fraction, metavar="M", help=gate)
    add(
        "--bootstrap",
        type=whole,
        default=1000,
        metavar="N",
        help="resamples for the intervals but that of zero-shot top-1 (%(default)s)",
    )
    add("--seed", type=seed, default=0, metavar="N", help="of resamples, text draws and t-SNE (%(default)s)")


def _add_few_shot(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--shots", type=_shots, default=(), metavar="LIST", help="support images a class, such as 1,2,4,8,16")
    add("--support", type=Path, metavar="DATA", help="labelled images to draw support from (.npz: plain features)")
    add("--seeds", type=whole, default=1, metavar="N", help="support sets drawn for each number (%(default)s)")
    val = (
        "labelled images to choose parameters on, none of DATA (.npz: its val split, else plain features; default: "
        "DATA's val split, else held-out support)"
    )
    add("--val", type=Path, metavar="DATA", help=val)
    add("--norm", choices=("minmax", "l2", "both"), default="both", help="Norm of Eq. 19 (%(default)s)")
    texts = "general texts W: every float array [*, D] in it (default: all the weight file's, as in coder-fit)"
    add("--texts", type=Path, metavar="TEXTS.npz", help=texts)
    add("--text-count", type=whole, metavar="N", help="draw only N of the general texts")
    add("--no-zero-shot", action="store_true", help="leave the zero-shot term out of the adapters")


def _add_fits(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--fit-temperature", action="store_true", help="scores that mean what they say; stored in the weight file")
    add(
        "--fit-margin",
        action="store_true",
        help="the margin below which reranking clearly pays; stored in the weight file",
    )
    unknown = "images of none of the classes: choose the score below which an answer is unknown, and store it"
    add("--unknown-from", type=Path, metavar="FOLDER", help=unknown)
    passed = "share of them let through (%(default)s)"
    add("--false-accepts", type=fraction, default=FALSE_ACCEPTS, metavar="P", help=passed)


def _add_output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--format", choices=FORMATS, help="default: by the suffix of --out, .json or .csv; else table")
    add("--out", metavar="FILE", help="write there; the file appears when all is done")
    add("--report", type=Path, metavar="FILE.html", help="one HTML file with plots; needs the [eval] extra")
    add("--quiet", "-q", action="store_true", help="only errors on stderr")


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in METHODS]:
        raise argparse.ArgumentTypeError(f"must be among {', '.join(METHODS)}, got {unknown[0]!r}")
    return names


def _shots(text: str) -> tuple[int, ...]:
    return tuple(sorted({whole(part) for part in text.split(",")}))
