"""coder-export: labels and a CLIP model in, an engine and its weight file out."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from coder_engine.cli.command import OK, guarded, parser_of, say
from coder_engine.cli.output import OutputClosed, open_output
from coder_engine.errors import CoderError
from coder_export.config import FORMATS, ON_LONG, PRECISIONS, TRT, ExportConfig

_EXAMPLES = """
examples:
  coder-export --model ViT-B/16 --labels labels.txt
      OpenAI's weights from the hub; writes model.onnx and model.safetensors
  coder-export --model ViT-B/16 --labels labels.txt --texts my-texts/ --out birds
      with the text set in my-texts/; writes birds.onnx and birds.safetensors
  coder-export --model ViT-B/16 --checkpoint open_clip_model.safetensors --labels labels.txt
      no network: the weights of --pretrained, openai by default, from a file
  coder-export --model ViT-B/16 --labels labels.txt --precision int8 --calibrate photos/
      int8, scaled on images of yours; refused where it costs too much or is no faster here
  coder-export --model ViT-B/16 --labels labels.txt --format cuda
      model.onnx in fp16 for ONNX Runtime on NVIDIA GPUs alone, in its fused operators
  coder-export --model ViT-B/16 --labels labels.txt --format plan
      model.plan in fp16 as well, for TensorRT; see also coder-infer --rebuild
  coder-export --model ViT-B/16 --labels labels.txt --support photos/ --general-texts generic
      with a few-shot adapter for the images in photos/CLASS/
  coder-export --model ViT-B/16 --labels other.txt --engine model.onnx --out other
      another label set for an engine that exists; writes other.safetensors only
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 could not, 130 interrupted."""
    args = _parser().parse_args(argv)
    return guarded("coder-export", _list_models if args.list_models else lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    """The export; whatever stops it becomes a CoderError."""
    if args.model is None or args.labels is None:
        raise CoderError("--model and --labels are needed; see coder-export --help")
    try:
        config = _config(args)
        # Imported late: torch takes seconds, and --help and wrong arguments should not.
        from coder_export.pipeline import export
        from coder_export.report import Report

        export(config, Report(quiet=args.quiet))
    except ImportError as err:
        raise CoderError(f"{err}; install the build side: pip install 'coder-engine[export,cpu]'") from err
    except ValueError as err:
        raise CoderError(str(err)) from err
    except OutputClosed as err:
        raise CoderError("nobody reads standard output any more; --quiet writes none") from err
    except OSError as err:
        raise CoderError(f"{err.filename or args.out}: {err.strerror or err}") from err
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("coder-export", __doc__ or "", epilog=_EXAMPLES)
    parser.add_argument("--list-models", action="store_true", help="print the names that --model takes, and exit")
    _add_model_options(parser.add_argument_group("model"))
    _add_text_options(parser.add_argument_group("texts"))
    _add_shot_options(parser.add_argument_group("few-shot"))
    _add_output_options(parser.add_argument_group("output"))
    _add_precision_options(parser.add_argument_group("precision"))
    return parser


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--model", metavar="NAME", help="open_clip's or OpenAI's name: ViT-B/16, ViT-L/14@336px, RN50, coder-tiny, ...")
    weights = "open_clip tag, .pt or .safetensors file, or 'random' (default: openai)"
    add("--pretrained", metavar="TAG|FILE", help=weights)
    add("--checkpoint", type=Path, metavar="FILE", help="weights of that tag, where the hub is out of reach")
    add("--seed", type=int, default=ExportConfig.seed, help="seed of --pretrained random (default: %(default)s)")


def _add_text_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--labels", type=Path, metavar="FILE", help="one class name a line; the line number is the class id")
    texts = "shipped text set, folder, or 'none' (default: a shipped one that fits)"
    add("--texts", metavar="NAME|DIR", help=texts)
    long = "texts past the model's context length (default: %(default)s)"
    add("--on-long", choices=ON_LONG, default=ExportConfig.on_long, help=long)
    add(
        "--keep-texts",
        action="store_true",
        help="store the texts' features, for Engine.coder and for explanations that name texts",
    )
    bank = "also store features of texts of no class, for the few-shot adapter: 'generic', or a file with one a line"
    add("--general-texts", metavar="NAME|FILE", help=bank)
    size = "texts encoded at once (default: %(default)s)"
    add("--batch-size", type=int, default=ExportConfig.batch_size, metavar="N", help=size)


def _add_shot_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    support = "a few labelled images a class, a folder each: fits an adapter as coder-fit does, which has more options"
    add("--support", type=Path, metavar="DIR", help=support)
    add("--shots", type=int, metavar="M", help="images taken a class (default: all)")


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    out = "write STEM.onnx and STEM.safetensors (default: %(default)s)"
    add("--out", type=Path, default=ExportConfig.out, metavar="STEM", help=out)
    add("--engine", type=Path, metavar="FILE", help="reuse this .onnx and write only a weight file for it")
    add(
        "--standalone", action="store_true", help="also write STEM.standalone.onnx: pixels to classes, for any language"
    )
    kinds = "cuda: STEM.onnx for ONNX Runtime on NVIDIA GPUs alone; plan: also build STEM.plan (default: %(default)s)"
    add("--format", choices=FORMATS, default=ExportConfig.format, help=kinds)
    largest = "largest batch of a plan (default: %(default)s)"
    add("--max-batch", type=int, default=ExportConfig.max_batch, metavar="N", help=largest)
    add("--trt", type=_module, choices=TRT, help="what builds a plan (default: the first of these that is installed)")
    add("--margin", type=float, metavar="M", help="rerank only where the two best probabilities differ by less than M")
    differs = "largest difference from torch (default: %(default)g)"
    add("--tolerance", type=float, default=ExportConfig.tolerance, metavar="E", help=differs)
    photos = "your images for the fidelity checks, sub-folders too (default: scikit-image's)"
    add("--verify-images", type=Path, metavar="DIR", help=photos)
    add("--quiet", action="store_true", help="print errors only")


def _add_precision_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    low = "fp16, bf16: for GPUs and plans; int8: for CPUs; each checked against fp32 "
    low += "(default: fp32; with --format cuda or plan fp16)"
    add("--precision", choices=PRECISIONS, help=low)
    add("--calibrate", type=Path, metavar="DIR", help="your own images, sub-folders too, that int8 is calibrated on")
    most = "how many of them at the most (default: %(default)s)"
    add("--calibrate-count", type=int, default=ExportConfig.calibrate_count, metavar="N", help=most)
    cosine = "smallest cosine with fp32's features that is allowed (default: 0.999, for int8 0.98)"
    add("--min-cosine", type=float, metavar="X", help=cosine)
    same = "smallest share of images whose first class stays, of --verify-images or of those held out of --calibrate, "
    add("--min-agreement", type=float, metavar="X", help=same + "32 at least (default: 0.99, for int8 0.97)")
    add("--allow-slow", action="store_true", help="take int8 even where it is not faster on this machine")


def _config(args: argparse.Namespace) -> ExportConfig:
    chosen = {key: value for key, value in vars(args).items() if key not in ("list_models", "quiet")}
    if chosen["precision"] is None:
        chosen["precision"] = "fp32" if args.format == "onnx" else "fp16"
    return ExportConfig(**chosen)


def _list_models() -> int:
    import open_clip

    from coder_export import tiny
    from coder_export.model import needs_transformers

    open_clip.add_model_config(tiny.CONFIG)
    known = open_clip.list_models()
    ready = [name for name in known if not needs_transformers(name)]
    with suppress(OutputClosed):  # --list-models | head
        open_output(None).write("\n".join(ready) + "\n")
    if len(ready) < len(known):
        say("coder-export", f"{len(known) - len(ready)} more need a package and its hub: pip install transformers")
    return OK


def _module(text: str) -> str:
    """The name that Python knows of what pip spells with a dash."""
    return text.replace("-", "_")


if __name__ == "__main__":
    sys.exit(main())
