"""coder-fit: a few labelled images a class -> a few-shot adapter in the engine's weight file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coder_engine.cli.command import OK, SOME_FAILED, guarded, parser_of, say, seed, whole
from coder_engine.cli.engine_options import BY_ORDER, add_engine_options, open_engine, weights_path
from coder_engine.cli.progress import counting, terminal
from coder_engine.errors import CoderError

if TYPE_CHECKING:
    from coder_engine.fit import FitConfig

EPILOG = """\
examples:
  coder-fit --engine model.onnx --support photos/     photos/CLASS/*.jpg; writes model.safetensors
  coder-fit --engine model.onnx --support photos/ --shots 4 --val more/
  coder-fit --engine model.onnx --support photos/ --out tuned.safetensors
      leaves model.safetensors as it is; coder-infer --weights tuned.safetensors takes the other
  coder-fit --engine model.onnx --support photos/ --exponent 1 --no-centre --ridge 0
      the paper's CODER-Adapter

exit codes: 0 all well, 1 could not run, 2 fitted without some unreadable images, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run coder-fit; returns its exit code. Wrong usage and --help end in SystemExit, as argparse does."""
    args = _parser().parse_args(argv)
    return guarded("coder-fit", lambda: _fit(args), interrupted="interrupted; nothing was written")


def _fit(args: argparse.Namespace) -> int:
    try:
        return _run(args)
    except ValueError as err:
        raise CoderError(str(err)) from err
    except OSError as err:
        raise CoderError(f"{err.filename or args.support}: {err.strerror}; nothing was written") from err


def _run(args: argparse.Namespace) -> int:
    if args.threads is not None:  # those of NumPy, which reads this as it is loaded
        os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    # Late, so that --help needs no compiled module.
    from coder_engine.engine_path import check_engine_path
    from coder_engine.evaluate.feature_file import load_texts
    from coder_engine.evaluate.labelled import check_width
    from coder_engine.fit import fit_engine, general_texts, summary
    from coder_engine.places import check_weights_place
    from coder_engine.weights import load_weights

    config = _config(args)
    check_engine_path(args.engine)
    path = weights_path(args)
    weights = load_weights(path)
    if args.out is not None:
        check_weights_place("--out", args.out, args.engine, [args.support, args.val, args.general_texts])
    if args.general_texts is None:
        texts = general_texts(weights)
    else:
        texts = load_texts(args.general_texts)
        check_width(texts, weights.width, where=str(args.general_texts), other=str(path))
    engine = open_engine(args, adapter=False)
    say = _quiet if args.quiet else _say
    say(engine.description)
    with counting(terminal(quiet=args.quiet)) as advance:
        fitted = fit_engine(engine, texts, config, say=say, advance=advance)
    for err in fitted.failed:
        _say(str(err))
    for line in summary(fitted):
        say(line)
    written = fitted.search.adapter.save(path, out=args.out, since=weights)
    if weights.meta.temperature != 1 or weights.meta.unknown_below is not None:
        _say("taken out, as they were fitted to other scores: temperature and threshold for the unknown (coder-eval)")
    say(f"wrote {written.path} ({written.path.stat().st_size / 1e6:,.1f} MB)")
    other = f" --weights {written.path}" if args.out or args.weights else ""
    say(f"next: coder-eval IMAGES --engine {args.engine}{other}      labelled images not used here: is it better?")
    return SOME_FAILED if fitted.failed else OK


def _say(text: str) -> None:
    say("coder-fit", text)


def _quiet(text: str) -> None:
    del text


def _parser() -> argparse.ArgumentParser:
    description = "Fit a few-shot adapter (CODER-Adapter) to a few labelled images, without PyTorch."
    parser = parser_of("coder-fit", description, epilog=EPILOG)
    add = parser.add_argument
    add("--support", required=True, type=Path, metavar="DIR", help="a folder a class, or a csv of path,label")
    add("--val", type=Path, metavar="DIR", help="validation images, never test (default: folds of the support)")
    add("--by-order", action="store_true", help=BY_ORDER)
    add("--out", type=Path, metavar="FILE", help="weight file to write (default: the one that was read)")
    add_engine_options(parser)
    _add_method_options(parser.add_argument_group("method"))
    add("--quiet", "-q", action="store_true", help="only errors on stderr")
    return parser


def _add_method_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--shots", type=whole, metavar="M", help="images taken a class (default: all)")
    add("--views", type=whole, default=8, metavar="N", help="crops and flips averaged an image (%(default)s)")
    add("--seed", type=seed, default=0, metavar="N", help="of the images and crops drawn (%(default)s)")
    texts = "text features instead of the weight file's, float arrays [*, D]; of words, coder-export --general-texts"
    add("--general-texts", type=Path, metavar="NPZ", help=texts)
    add("--norm", choices=("minmax", "l2"), default="minmax", help="Norm of Eq. 19 (%(default)s)")
    exponent = "p: 0 image features, 1 CODER (default: 0.5, or better on the images held out)"
    add("--exponent", type=float, metavar="P", help=exponent)
    add("--ridge", type=float, metavar="R", help="of the spectral form (default: 0.1 where texts < D, else 0)")
    add("--no-centre", action="store_true", help="as in the paper, take no means off")


def _config(args: argparse.Namespace) -> FitConfig:
    from coder_engine.fewshot import Form
    from coder_engine.fit import FitConfig

    given = {} if args.exponent is None else {"exponent": args.exponent}
    return FitConfig(
        support=args.support,
        val=args.val,
        by_order=args.by_order,
        shots=args.shots,
        views=args.views,
        norm=args.norm,
        form=Form(**given, ridge=args.ridge, centre=not args.no_centre),
        fixed=args.exponent is not None or args.ridge is not None,
        seed=args.seed,
        threads=args.threads,
    )


if __name__ == "__main__":
    sys.exit(main())
