"""What a fit found, in words."""

from __future__ import annotations

from coder_engine.evaluate.margin import clearly_better
from coder_engine.fit.run import Fitted


def summary(fitted: Fitted) -> list[str]:
    """What was fitted and chosen, and on what; lines for a user."""
    adapter, record = fitted.search.adapter, fitted.search.record
    form = adapter.form
    lines = [
        f"few-shot adapter: {adapter.shots_text}, {len(adapter.labels):,} images, {adapter.texts:,} texts; "
        f"exponent {form.exponent:g}, ridge {form.ridge:g}, {'' if form.centre else 'not '}centred, {adapter.norm}; "
        f"alpha {adapter.alpha:g}, beta {adapter.beta:g}, T {adapter.temperature:g}"
    ]
    if record["chosen_on"] == "defaults":
        return [*lines, "nothing to choose alpha and beta on: the defaults, unmeasured; --val FOLDER measures them"]
    on = "validation images" if record["chosen_on"] == "validation" else f"support images in {record['folds']} folds"
    without = record["zero_shot_accuracy"]
    lines.append(
        f"chosen on {record['images']:,} {on}: {record['accuracy']:.1%} right, {without:.1%} without the adapter "
        "(no test figure: the parameters were chosen for these images)"
    )
    return [*lines, _verdict(record["better"], record["worse"])]


def _verdict(better: int, worse: int) -> str:
    """Whether the adapter is worth having, by the images that it and the texts alone answer differently."""
    counts = f"{better:,} right only with it, {worse:,} right only without"
    if better <= worse:
        return f"no gain from the adapter was seen: {counts}; coder-infer --no-adapter goes without it"
    if not clearly_better(better, worse):
        return f"the adapter's gain may be chance: {counts}; measure it on other images"
    return f"the adapter's gain is clear: {counts}"
