"""The description of an exported model in its file's metadata: all that prediction needs beside the graph."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dlcpose.codecs.graph_steps import GRAPH_STEPS, GraphStep
from dlcpose.detectors.base import BoxRule
from dlcpose.detectors.box_rules import around_keypoints, padded_keypoints
from dlcpose.detectors.graph_detector import GRAPH_DETECTORS, GraphDetector
from dlcpose.pipelines.animal_crops import CropSettings
from dlcpose.settings import check_types
from dlcpose.structures.data_description import check_limits
from dlcpose.structures.data_files import parse_json
from dlcpose.structures.errors import CheckpointError, DlcposeError
from dlcpose.structures.input import Input
from dlcpose.structures.registry import Registry
from dlcpose.structures.skeleton import Skeleton

FORMAT = 1
MAX_LENGTH = 4_000_000  # characters of a description: a longer one is none
PRECISIONS = ("32", "fp16")
T = TypeVar("T")


@dataclass(frozen=True)
class CropsOfGraph:
    """How a top-down model cuts crops around the boxes of its detector.

    box_margin, box_min_size, or box_padding: of the rule that the detector was trained by (`around_keypoints` or
    `padded_keypoints`), None where it is another.
    detector_hash: SHA-256 of the file of the detector's graph.
    """

    settings: CropSettings
    detector: GraphDetector
    detector_hash: str
    box_margin: float | None = None
    box_min_size: float | None = None
    box_padding: float | None = None

    @property
    def box_rule(self) -> BoxRule | None:
        """The rule that makes boxes of poses."""
        if self.box_padding is not None:
            return functools.partial(padded_keypoints, padding=self.box_padding)
        if self.box_margin is None or self.box_min_size is None:
            return None
        return functools.partial(around_keypoints, margin=self.box_margin, min_size=self.box_min_size)


@dataclass(frozen=True)
class GraphDescription:
    """steps: from the graph's outputs to animals. precision: of its weights. checkpoint_hash: SHA-256 of what was exported.

    individuals: names of the animals. max_animals: in one image of the training data. versions: of what exported it.
    crops: of a top-down model.
    """

    skeleton: Skeleton
    model_input: Input
    steps: tuple[GraphStep, ...]
    precision: str
    checkpoint_hash: str
    individuals: tuple[str, ...] = ()
    max_animals: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    crops: CropsOfGraph | None = None

    @property
    def finds_one_animal(self) -> bool:
        """Whether it finds one animal in a frame, always the same."""
        return self.steps[0].finds_one_animal and self.crops is None

    @property
    def finds_unique(self) -> bool:
        """Whether it looks for the skeleton's unique keypoints."""
        return any(step.finds_unique for step in self.steps)

    def as_text(self) -> str:
        """JSON, for the metadata of a file."""
        content = {
            "format": FORMAT,
            "skeleton": self.skeleton.as_dict(),
            "input": self.model_input.as_dict(),
            "steps": [_named(step, GRAPH_STEPS) for step in self.steps],
            "precision": self.precision,
            "checkpoint_hash": self.checkpoint_hash,
            "individuals": list(self.individuals),
            "max_animals": self.max_animals,
            "versions": dict(self.versions),
            "crops": None
            if self.crops is None
            else {
                "settings": asdict(self.crops.settings),
                "detector": _named(self.crops.detector, GRAPH_DETECTORS),
                "detector_hash": self.crops.detector_hash,
                "box_margin": self.crops.box_margin,
                "box_min_size": self.crops.box_min_size,
                "box_padding": self.crops.box_padding,
            },
        }
        return json.dumps(content)


def read_description(text: str, path: Path) -> GraphDescription:
    """Read what `as_text` wrote, from a file that may be untrusted: only plain, bounded and consistent values.

    Raises CheckpointError for anything else.
    """
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError(f"expected at most {MAX_LENGTH} characters, got {len(text)}")
        content = parse_json(text.encode(errors="surrogatepass"), path, finite=True, error=CheckpointError)
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: expected an export of format {FORMAT}, got {content['format']!r:.50}. Export its checkpoint anew."
            )
        return _description(content)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, DlcposeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise CheckpointError(
            f"{path}: its description of the model is invalid ({reason}). Export its checkpoint anew."
        ) from error


def _description(content: Mapping[str, Any]) -> GraphDescription:
    check_limits(content)
    skeleton, model_input = Skeleton.from_dict(content["skeleton"]), Input.from_dict(content["input"])
    steps = tuple(_built(step, GRAPH_STEPS, f"steps[{number}]") for number, step in enumerate(content["steps"]))
    if not steps:
        raise ValueError("expected one step or more")
    for step in steps:
        step.check(skeleton)
    if content["precision"] not in PRECISIONS:
        raise ValueError(f"expected a precision of {' or '.join(PRECISIONS)}, got {content['precision']!r:.50}")
    crops = None if content["crops"] is None else _crops(content["crops"])
    if crops is not None and model_input.canvas is None:
        raise ValueError("expected an input of one size, as it is of crops")
    return GraphDescription(
        skeleton=skeleton,
        model_input=model_input,
        steps=steps,
        precision=content["precision"],
        checkpoint_hash=_text(content["checkpoint_hash"]),
        individuals=tuple(_text(name) for name in content["individuals"]),
        max_animals=content["max_animals"],
        versions={_text(name): _text(value) for name, value in content["versions"].items()},
        crops=crops,
    )


def _crops(content: Mapping[str, Any]) -> CropsOfGraph:
    settings = {name: content[name] for name in ("box_margin", "box_min_size", "detector_hash")}
    settings["box_padding"] = content.get("box_padding")  # which the first exports did not have
    check_types(CropsOfGraph, settings, "crops", strict=True)
    check_types(CropSettings, content["settings"], "crops.settings", strict=True)
    detector = _built(content["detector"], GRAPH_DETECTORS, "crops.detector")
    return CropsOfGraph(CropSettings(**content["settings"]), detector, **settings)


def _named(part: Any, registry: Registry[Any]) -> dict[str, Any]:
    """A part's settings with the name that its class is registered under."""
    (name,) = (name for name, kind in registry.load().items() if kind is type(part))
    return {"kind": name, **asdict(part)}


def _built(content: Mapping[str, Any], registry: Registry[type[T]], where: str) -> T:
    """The part that a file describes. Raises ConfigError for settings that are not plain, bounded and of their type."""
    kind = registry.load()[content["kind"]]
    settings = {name: _as_tuples(value) for name, value in content.items() if name != "kind"}
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = {each.name for each in fields}
    # Earlier exports do not have all of the others.
    needed = {each.name for each in fields if each.default is dataclasses.MISSING}
    if not needed <= settings.keys() <= known:
        raise ValueError(f"{where}: expected the settings {sorted(known)}, got {sorted(settings)}")
    check_types(kind, settings, where, strict=True)
    return kind(**settings)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 4_096:
        raise ValueError(f"expected a text of at most 4096 characters, got {value!r:.50}")
    return value
