"""Pixel methods, by Captum: one table says how ours are called there, what they are given and by which defaults.

Each is a function from a ``Context`` to signed values ``[N, C, H, W]`` float32, with respect to the network's own
(normalised) input, or, of the methods of hidden layers, from a ``Context`` and a layer to ``[N, K, h, w]``.

Methods that need one pass attribute all images in it. The others take one image at a time, each with its own target
and its own random numbers, so that an image's map does not depend on what else is in the batch; N images take N times
as long as one.

Options, of those methods that have them:

==============  =====================================================================================================
abs             the gradient without its sign
baseline        what an image without the thing looks like: see ``baselines.as_baseline``; black unless it is said
baselines       several of those
steps           how many points of the way from the baseline are looked at; ``None``: 50, and more where these do not
                add up, see ``paths.adding_up``
samples         how many images (or coalitions of segments) are drawn
noise           standard deviation of the noise, as a fraction of the range of the network's input
segments        how many squares along each side, or (down, across); ``feature_mask`` ``[H, W]`` cuts otherwise
window, stride  size of the square that covers, and how far it moves, in pixels or (down, across)
alpha           how much LIME pays for each weight: more leaves fewer segments
rule, epsilon   LRP's: "epsilon", with how much of a layer's root mean square steadies it, or "zero" for LRP-0
batch_size      how many images the network sees at once; memory, and nothing else, depends on it but for rounding
seed            of the random numbers; torch's and numpy's own are neither used nor changed
==============  =====================================================================================================
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import as_count
from . import slots
from .baselines import as_baseline
from .cam import gradcam
from .context import Context, changed_layer
from .given import as_deviation, as_distribution, as_segments, as_windows
from .integrated_gradients import adding_up
from .registry import METHODS, Method, method
from .targets import Target


@dataclass(frozen=True)
class Row:
    """How one of our methods is done with Captum.

    Attributes:
        captum: name of its class in ``captum.attr``.
        summary: what it computes, and its source.
        options: ours, with their defaults.
        names: what Captum calls those of them that it takes as they are.
        fixed: what Captum is given besides.
        layer: whether it attributes to a layer.
        tunnel: whether it is smoothed by Captum's ``NoiseTunnel``.
        once: whether it attributes all images in one pass.
        rule: which calls of the network have to be seen by Captum.
    """

    captum: str
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    layer: bool = False
    tunnel: bool = False
    once: bool = False
    rule: Callable[[Mapping[str, Any]], slots.Rule] | None = None


_PATH: dict[str, Any] = {"baseline": "black", "steps": 50, "batch_size": 32}
_PATH_NAMES = {"steps": "n_steps", "batch_size": "internal_batch_size"}
_NOISE: dict[str, Any] = {"samples": 25, "noise": 0.15, "batch_size": 32, "seed": 0}
_NOISE_NAMES = {"samples": "nt_samples", "batch_size": "nt_samples_batch_size"}
_EVALS = {"batch_size": "perturbations_per_eval"}
_SEGMENTS: dict[str, Any] = {"baseline": "black", "segments": 8, "feature_mask": None, "batch_size": 32}
_SAMPLED: dict[str, Any] = {**_SEGMENTS, "samples": 200, "seed": 0}
_SAMPLED_NAMES = {**_EVALS, "samples": "n_samples"}


def _relus(options: Mapping[str, Any]) -> slots.Rule:
    return slots.relus


def _tunnel(kind: str, summary: str) -> Row:
    return Row("Saliency", summary, _NOISE, _NOISE_NAMES, {"nt_type": kind, "abs": False}, tunnel=True)


ROWS: dict[str, Row] = {
    "saliency": Row(
        "Saliency",
        'The gradient of the score. Simonyan et al., "Deep Inside Convolutional Networks", 2013.',
        {"abs": False},
        {"abs": "abs"},
        once=True,
    ),
    "input_x_gradient": Row(
        "InputXGradient",
        'The gradient times the input. Shrikumar et al., "Not Just a Black Box", 2016.',
        once=True,
    ),
    "integrated_gradients": Row(
        "IntegratedGradients",
        "Mean gradient on the way from a baseline, times the way. Sundararajan et al., "
        '"Axiomatic Attribution for Deep Networks", 2017.',
        {**_PATH, "steps": None},
        _PATH_NAMES,
    ),
    "smoothgrad": _tunnel("smoothgrad", 'Mean gradient under noise. Smilkov et al., "SmoothGrad", 2017.'),
    "smoothgrad_sq": _tunnel(
        "smoothgrad_sq", 'Mean squared gradient under noise. Hooker et al., "A Benchmark for Interpretability", 2019.'
    ),
    "vargrad": _tunnel(
        "vargrad", 'Variance of the gradient under noise. Adebayo et al., "Local Explanation Methods", 2018.'
    ),
    "guided_backprop": Row(
        "GuidedBackprop",
        "The gradient, of which ReLUs pass only what is positive. Springenberg et al., "
        '"Striving for Simplicity", 2014.',
        once=True,
        rule=_relus,
    ),
    "deconvolution": Row(
        "Deconvolution",
        "What is positive passes every ReLU back, open or shut. Zeiler, Fergus, "
        '"Visualizing and Understanding Convolutional Networks", 2013.',
        once=True,
        rule=_relus,
    ),
    "deeplift": Row(
        "DeepLift",
        'Differences from a baseline, by the rescale rule. Shrikumar et al., "Learning Important Features", 2017.',
        {"baseline": "black"},
        rule=lambda options: slots.rescale,
    ),
    "deeplift_shap": Row(
        "DeepLiftShap",
        'Mean of DeepLIFT over baselines. Lundberg, Lee, "A Unified Approach", 2017.',
        {"baselines": ("black", "white")},
        rule=lambda options: slots.rescale,
    ),
    "gradient_shap": Row(
        "GradientShap",
        "Mean gradient between the image and drawn baselines, times the way. Lundberg, Lee, "
        '"A Unified Approach", 2017.',
        {"baselines": ("black", "white"), "samples": 25, "noise": 0.0, "seed": 0},
        {"samples": "n_samples"},
    ),
    "occlusion": Row(
        "Occlusion",
        'What a covered square costs. Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2013.',
        {"baseline": "black", "window": None, "stride": None, "batch_size": 32},
        _EVALS,
    ),
    "feature_ablation": Row(
        "FeatureAblation", "What each segment costs when it is left out. As in Captum.", _SEGMENTS, _EVALS
    ),
    "lime": Row(
        "Lime",
        "Weights of a sparse linear model of the score near the image. Ribeiro et al., "
        '"Why Should I Trust You?", 2016.',
        {**_SAMPLED, "alpha": 0.01},
        _SAMPLED_NAMES,
    ),
    "kernel_shap": Row(
        "KernelShap",
        'Shapley values of segments, by a weighted linear model. Lundberg, Lee, "A Unified Approach", 2017.',
        _SAMPLED,
        _SAMPLED_NAMES,
    ),
    "lrp": Row(
        "LRP",
        'The score, handed back from layer to layer in proportion. Bach et al., "On Pixel-Wise Explanations", 2015.',
        {"rule": "epsilon", "epsilon": 0.01},
        rule=lambda options: slots.relevance(_epsilon(**options)),
    ),
    "layer_conductance": Row(
        "LayerConductance",
        'Integrated gradients as they flow through each unit. Dhamdhere et al., "How Important Is a Neuron?", 2018.',
        _PATH,
        _PATH_NAMES,
        layer=True,
    ),
    "internal_influence": Row(
        "InternalInfluence",
        'Mean gradient of each unit on the way from a baseline. Leino et al., "Influence-Directed Explanations", 2018.',
        _PATH,
        _PATH_NAMES,
        layer=True,
    ),
    "layer_gradient_x_activation": Row(
        "LayerGradientXActivation",
        "The gradient times the activation of each unit. As in Captum.",
        layer=True,
        once=True,
    ),
}


class _Scores(nn.Module):
    """The scores ``[M]`` of normalised images, as a module; what Captum hooks are its children, and no others."""

    def __init__(self, look: Context, calls: slots.Slots | None = None, layer: str | None = None) -> None:
        super().__init__()
        self._look, self._calls, self._layer = [look], calls, layer  # a list, or the network would be a child
        if calls is not None:
            self.slots = calls.modules
        if layer is not None:
            self.at_layer = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        look, reached = self._look[0], not self._layer

        def at_layer(x: Tensor) -> Tensor:
            nonlocal reached
            reached = True
            return self.at_layer(x).clone()  # what follows may work in place

        with ExitStack() as around:
            if self._layer is not None:
                around.enter_context(changed_layer(look.network, self._layer, at_layer))
            if self._calls is not None:
                around.enter_context(self._calls)
            try:
                # Captum's noise is float32 whatever it is added to.
                scores = look.run(inputs.to(look.given.dtype))[0]
            finally:
                refused = self._calls.refused if self._calls is not None else None
                if refused is not None:
                    raise refused  # the network, or who runs it, may have caught it and gone on
        if not reached:
            raise ValueError(f"layer {self._layer!r} is not called on the way to the target: choose one before it")
        return scores


def _run(name: str, row: Row, look: Context, layer: str | None, options: Mapping[str, Any]) -> Tensor:
    """Values of a row of the table: ``[N, C, H, W]``, or ``[N, K, h, w]`` at a layer."""
    options = {**row.options, **options}
    every = range(len(look.images))
    values = []
    for some in [list(every)] if row.once else [[i] for i in every]:
        one = look.take(some)
        drawing = _seeded(options["seed"], look.images.device) if "seed" in options else nullcontext()
        with drawing, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting ", UserWarning)  # hooks on slots, of which nobody else knows
            values.append(_attribute(name, row, one, layer, _of_these(options, some, len(every))))
    return torch.cat(values)


def _of_these(options: Mapping[str, Any], some: list[int], count: int) -> dict[str, Any]:
    """The options for only some of the images, where one is given for each."""
    baseline = options.get("baseline")
    each = isinstance(baseline, Tensor) and baseline.dim() == 4 and len(baseline) == count
    return {**options, "baseline": baseline[some]} if each else dict(options)  # type: ignore[index]


def _attribute(name: str, row: Row, look: Context, layer: str | None, options: Mapping[str, Any]) -> Tensor:
    made, given = _captum(row.captum), {**row.fixed, **_given(row, look, options)}
    calls = slots.Slots(look.network, name, row.rule(options)) if row.rule is not None else None
    if calls is not None and row.captum == "LRP":
        own = {part.name: getattr(look.target, part.name) for part in fields(Target)}
        look = replace(look, target=slots.PaidTarget(**own, calls=calls))
    model = _Scores(look, calls, layer)
    if calls is not None:
        with calls.making():
            model(look.inputs)
        if not len(calls.modules) and row.rule is _relus:
            raise ValueError(
                f"{name} changes how gradients pass ReLUs, of which {type(look.network).__name__} has none on the way "
                "to the target: choose saliency, which it would be, or integrated_gradients"
            )
    at = (model.at_layer,) if layer is not None else ()
    engine = made(model, *at, **_made_with(name, options))
    if row.tunnel:
        engine = _captum("NoiseTunnel")(engine)
    if name == "integrated_gradients":
        return adding_up(engine, look, given).float()
    values = engine.attribute(look.inputs, **given).detach()
    return look.as_map(layer, values) if layer is not None else values.float()


def _given(row: Row, look: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """What Captum is given for our options."""
    for count in ("steps", "samples", "batch_size"):
        if count in options and (options[count], row.options[count]) != (None, None):
            as_count(count, options[count])
    given = {theirs: options[ours] for ours, theirs in row.names.items()}
    if row.captum == "LayerConductance":
        given["internal_batch_size"] = max(2, options["batch_size"])  # it takes differences within a batch
    if "baseline" in options:
        given["baselines"] = look.normalised(as_baseline(look, options["baseline"]))
    if "baselines" in options:
        given["baselines"] = as_distribution(look, options["baselines"])
    if "noise" in options:
        given["stdevs"] = as_deviation(look, options["noise"])
    if "segments" in options:
        given["feature_mask"] = as_segments(look, options["segments"], options["feature_mask"])
    if "window" in options:
        given.update(as_windows(look, options["window"], options["stride"]))
    return given


def _made_with(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if name not in ("lime", "kernel_shap"):
        return {}
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{name} needs scikit-learn: pip install 'optvis[lime]'") from error
    if name == "kernel_shap":
        return {}
    from captum._utils.models.linear_model import SkLearnLasso

    return {"interpretable_model": SkLearnLasso(alpha=options["alpha"])}


def _captum(name: str) -> Any:
    try:
        return getattr(importlib.import_module("captum.attr"), name)
    except ImportError as error:
        raise ImportError("pixel attribution needs Captum: pip install captum") from error


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within the block random numbers come from ``seed``; after it all random states are what they were."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed!r}: give a whole number from 0 to 4294967295")
    numpy_state = numpy.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            torch.manual_seed(seed)
            numpy.random.seed(seed)
            yield
        finally:
            numpy.random.set_state(numpy_state)


def _epsilon(rule: str, epsilon: float) -> float:
    if rule not in ("epsilon", "zero"):
        raise ValueError(f"rule {rule!r}: choose 'epsilon' or 'zero'")
    if not epsilon >= 0:
        raise ValueError(f"epsilon {epsilon!r}: give a fraction of what a layer puts out, 0 or more")
    return float(epsilon) if rule == "epsilon" else 0.0


def _register(name: str, row: Row) -> None:
    def run(look: Context, *layer: str, **options: Any) -> Tensor:
        METHODS[name].checked(options)
        return _run(name, row, look, layer[0] if layer else None, options)

    Kind = inspect.Parameter
    taken = [Kind("look", Kind.POSITIONAL_OR_KEYWORD), *([Kind("layer", Kind.POSITIONAL_OR_KEYWORD)] * row.layer)]
    given = [Kind(option, Kind.KEYWORD_ONLY, default=default) for option, default in row.options.items()]
    run.__signature__ = inspect.Signature([*taken, *given])  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = name, row.summary
    METHODS[name] = Method(name, run, row.layer, row.summary)


for _name, _row in ROWS.items():
    _register(_name, _row)


@method("guided_gradcam", layer=True)
def guided_gradcam(look: Context, layer: str) -> Tensor:
    """Guided backprop where Grad-CAM is positive. Selvaraju et al., "Grad-CAM", 2017."""
    where = F.interpolate(gradcam(look, layer).sum(1, keepdim=True).relu(), look.images.shape[-2:], mode="nearest")
    return METHODS["guided_backprop"].run(look) * where
