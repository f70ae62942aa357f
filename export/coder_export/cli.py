"""coder-export: labels and a CLIP model in, an engine and its weight file out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from coder_engine import __version__
from coder_engine.errors import CoderError
from coder_export.config import ON_LONG, PRECISIONS, ExportConfig

_EXAMPLES = """
examples:
  coder-export --model ViT-B/16 --labels labels.txt
      OpenAI's weights from the hub; writes model.onnx and model.safetensors
  coder-export --model ViT-B/16 --labels labels.txt --texts my-texts/ --out birds
      with the text set in my-texts/; writes birds.onnx and birds.safetensors
  coder-export --model ViT-B/16 --pretrained openai --checkpoint open_clip_model.safetensors --labels labels.txt
      no network: the weights of that tag from a file
  coder-export --model ViT-B/16 --labels labels.txt --support photos/ --shots 4 --general-texts generic
      with a few-shot adapter for the images in photos/CLASS/
  coder-export --model ViT-B/16 --labels other.txt --engine model.onnx --out other
      another label set for an engine that exists; writes other.safetensors only
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 1 could not, 130 interrupted."""
    args = _parser().parse_args(argv)
    if args.list_models:
        return _list_models()
    if args.model is None or args.labels is None:
        print("coder-export: --model and --labels are needed; see coder-export --help", file=sys.stderr)
        return 1
    try:
        config = _config(args)
        # Imported late: torch takes seconds, and --help and wrong arguments should not.
        from coder_export.pipeline import export
        from coder_export.report import Report

        export(config, Report(quiet=args.quiet))
    except (CoderError, ValueError) as err:
        print(f"coder-export: {err}", file=sys.stderr)
        return 1
    except ImportError as err:
        print(
            f"coder-export: {err}; install the build side: pip install 'coder-engine[export]'",
            file=sys.stderr,
        )
        return 1
    except OSError as err:
        print(
            f"coder-export: {err.filename or config.out}: {err.strerror}; nothing was written",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("coder-export: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coder-export", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"coder-export {__version__}")
    parser.add_argument("--list-models", action="store_true", help="print the names that --model takes, and exit")
    _add_model_options(parser.add_argument_group("model"))
    _add_text_options(parser.add_argument_group("texts"))
    _add_shot_options(parser.add_argument_group("few-shot"))
    _add_output_options(parser.add_argument_group("output"))
    return parser


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--model", metavar="NAME", help="open_clip's or OpenAI's name: ViT-B/16, ViT-L/14@336px, RN50, coder-tiny, ...")
    weights = "open_clip tag, .pt or .safetensors file, or 'random' (default: openai)"
    add("--pretrained", metavar="TAG|FILE", help=weights)
    add("--checkpoint", type=Path, metavar="FILE", help="weights of that tag, where the hub is out of reach")
    add("--seed", type=int, default=0, help="seed of --pretrained random (default: 0)")


def _add_text_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--labels", type=Path, metavar="FILE", help="one class name a line; the line number is the class id")
    texts = "shipped text set, folder, or 'none' (default: a shipped one that fits)"
    add("--texts", metavar="NAME|DIR", help=texts)
    add("--on-long", choices=ON_LONG, default="error", help="texts past the model's context length (default: error)")
    add("--keep-texts", action="store_true", help="store the general texts' features, for Engine.coder")
    bank = "also store features of texts of no class, for the few-shot adapter: 'generic', or a file with one a line"
    add("--general-texts", metavar="NAME|FILE", help=bank)
    add("--batch-size", type=int, default=64, metavar="N", help="texts encoded at once (default: 64)")


def _add_shot_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    support = "a few labelled images a class, a folder each: fits an adapter as coder-fit does, which has more options"
    add("--support", type=Path, metavar="DIR", help=support)
    add("--shots", type=int, metavar="M", help="images taken a class (default: all)")


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    out = "write STEM.onnx and STEM.safetensors (default: model)"
    add("--out", type=Path, default=Path("model"), metavar="STEM", help=out)
    add("--engine", type=Path, metavar="FILE", help="reuse this .onnx and write only a weight file for it")
    add(
        "--standalone", action="store_true", help="also write STEM.standalone.onnx: pixels to classes, for any language"
    )
    low = "fp16 and bf16 are for GPUs and for plans, and checked against fp32 (default: fp32)"
    add("--precision", choices=PRECISIONS, default="fp32", help=low)
    least = "smallest cosine with fp32's features that --precision may give (default: 0.999)"
    add("--min-cosine", type=float, default=0.999, metavar="X", help=least)
    add("--margin", type=float, metavar="M", help="rerank only where the two best probabilities differ by less than M")
    add("--tolerance", type=float, default=1e-4, metavar="E", help="largest difference from torch (default: 1e-4)")
    photos = "photographs for the fidelity check (default: scikit-image's)"
    add("--verify-images", type=Path, metavar="DIR", help=photos)
    add("--quiet", action="store_true", help="print errors only")


def _config(args: argparse.Namespace) -> ExportConfig:
    chosen = {key: value for key, value in vars(args).items() if key not in ("list_models", "quiet")}
    return ExportConfig(**chosen)


def _list_models() -> int:
    import open_clip

    from coder_export import tiny

    open_clip.add_model_config(tiny.CONFIG)
    print("\n".join(open_clip.list_models()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
