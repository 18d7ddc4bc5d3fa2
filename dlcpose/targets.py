"""What a config may build: for each place in it, by name.

A list of trusted packages is no boundary: constructors of data sets, loggers and readers of other packages unpack
archives, run commands and load files. So each place of a config has a list of what may stand there, and nothing else is
imported or called. Adding a part to dlcpose adds a line here. See docs/trust.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """What may be built in one place of a config.

    names: full paths of classes and functions. base: path of the class that every class among them derives from, None
    where they only have to be called alike. inner: of the settings that are parts themselves, the name of their place.
    several: whether the place holds any number of parts, each under a name of the user's.
    """

    names: tuple[str, ...]
    base: str | None = None
    inner: Mapping[str, str] = field(default_factory=dict)
    several: bool = False


def _of(package: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{package}.{name}" for name in names)


# Of albumentations 2.0.8, what turns, cuts, blurs or recolours an image: nothing that takes a function, reads further
# images or fonts from paths (FDA, HistogramMatching, TextImage, ...), or makes something else than an image of it.
ALBUMENTATIONS = _of(
    "albumentations",
    *("Compose", "OneOf", "OneOrOther", "SomeOf", "Sequential", "RandomOrder", "NoOp"),
    *("AdditiveNoise", "AdvancedBlur", "Affine", "AtLeastOneBBoxRandomCrop", "AutoContrast", "BBoxSafeRandomCrop"),
    *("Blur", "CLAHE", "CenterCrop", "ChannelDropout", "ChannelShuffle", "ChromaticAberration", "CoarseDropout"),
    *("ColorJitter", "ConstrainedCoarseDropout", "Crop", "CropAndPad", "D4", "Defocus", "Downscale"),
    *("ElasticTransform", "Emboss", "Equalize", "Erasing", "FancyPCA", "GaussNoise", "GaussianBlur", "GlassBlur"),
    *("GridDistortion", "GridDropout", "GridElasticDeform", "HEStain", "HorizontalFlip", "HueSaturationValue"),
    *("ISONoise", "Illumination", "ImageCompression", "InvertImg", "LongestMaxSize", "MedianBlur", "Morphological"),
    *("MotionBlur", "MultiplicativeNoise", "OpticalDistortion", "Pad", "PadIfNeeded", "Perspective"),
    *("PiecewiseAffine", "PixelDropout", "PlanckianJitter", "PlasmaBrightnessContrast", "PlasmaShadow", "Posterize"),
    *("RGBShift", "RandomBrightnessContrast", "RandomCrop", "RandomCropFromBorders", "RandomFog", "RandomGamma"),
    *("RandomGravel", "RandomGridShuffle", "RandomRain", "RandomResizedCrop", "RandomRotate90", "RandomScale"),
    *("RandomShadow", "RandomSizedBBoxSafeCrop", "RandomSizedCrop", "RandomSnow", "RandomSunFlare"),
    *("RandomToneCurve", "Resize", "RingingOvershoot", "Rotate", "SafeRotate", "SaltAndPepper"),
    *("SelectiveChannelTransform", "Sharpen", "ShiftScaleRotate", "ShotNoise", "SmallestMaxSize", "Solarize"),
    *("Spatter", "SquareSymmetry", "Superpixels", "ThinPlateSpline", "ToGray", "ToRGB", "ToSepia", "Transpose"),
    *("UnsharpMask", "VerticalFlip", "XYMasking", "ZoomBlur"),
)
OPTIMIZERS = _of(
    "torch.optim",
    *(
        "ASGD",
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
    ),
)
BACKBONES = _of(
    "dlcpose.backbones", "cspnext.CspNextBackbone", "hrnet.HrnetBackbone", "timm.TimmBackbone", "vit.VitBackbone"
)

PLACES: dict[str, Place] = {
    # ---- what a model is made of
    "pipeline": Place(
        _of(
            "dlcpose.pipelines",
            *("bottom_up.BottomUp", "conditioned.ConditionalTopDown", "detection.Detection", "top_down.TopDown"),
        ),
        base="dlcpose.pipelines.base.PoseModule",
    ),
    "backbone": Place(BACKBONES, base="dlcpose.backbones.timm_backbone.NetworkBackbone"),
    "neck": Place(
        _of(
            "dlcpose.necks",
            *("attention.AttentionEncoder", "concatenate.Concatenate", "fpn.FeaturePyramid", "identity.Identity"),
            "multi_scale.MultiScale",
        ),
        base="torch.nn.Module",
    ),
    "head": Place(
        _of(
            "dlcpose.heads",
            *("dekr.DekrHead", "heatmap.HeatmapHead", "part_affinity.PartAffinityHead", "rtmcc.RtmccHead"),
            *("token.TokenPoseHead", "upsampling.DeconvolutionHead", "upsampling.InterpolationHead"),
        ),
        base="dlcpose.heads.base.Head",
        inner={"heatmap_loss": "loss", "edges": "edges"},
    ),
    "edges": Place(_of("dlcpose.heads.paf_graph", "all_limbs", "own_limbs")),
    "side_head": Place(
        _of("dlcpose.side_heads", "identity.identity_head", "unique.unique_head"), inner={"head": "head"}, several=True
    ),
    "loss": Place(_of("dlcpose.losses.heatmap", "binary_cross_entropy", "located_cross_entropy", "mean_squared_error")),
    "detector": Place(
        _of(
            "dlcpose.detectors",
            *("centres.CenterNetDetector", "conditions.PerturbedPoseDetector", "conditions.conditions"),
            *("faster_rcnn.FasterRcnnMobilenet", "faster_rcnn.FasterRcnnResnet50", "ground_truth.GroundTruthDetector"),
            "ssdlite.SsdLite",
        ),
        base="dlcpose.detectors.base.Detector",
        inner={
            **{"backbone": "backbone", "neck": "neck", "heatmap_loss": "loss"},
            **{"boxes": "box_rule", "training": "detector_training"},
        },
    ),
    "box_rule": Place(_of("dlcpose.detectors.box_rules", "around_keypoints", "stored")),
    "detector_training": Place(_of("dlcpose.detectors.base", "DetectorTraining")),
    "condition": Place(
        _of("dlcpose.conditions", "generated.GeneratedConditions", "predicted.PredictedConditions"),
        base="dlcpose.conditions.base.ConditionSource",
    ),
    "fusion": Place(_of("dlcpose.fusions", "coam.Coam", "prenet.PreNet"), base="dlcpose.fusions.base.Fusion"),
    # ---- what it is trained on
    "dataset": Place(
        _of("dlcpose.datasets", "coco.CocoFrames", "deeplabcut.DeepLabCutFrames", "synthetic.SyntheticFrames"),
        base="dlcpose.datasets.base.LabelledFrames",
    ),
    "split": Place(_of("dlcpose.datasets.splits", "block", "random", "stored", "video")),
    "input": Place(_of("dlcpose.structures.input", "letterbox", "native", "resize")),
    "datamodule": Place(
        _of("dlcpose.datasets.datamodule", "PoseDataModule"),
        base="pytorch_lightning.LightningDataModule",
        inner={"closing": "augmentation"},
    ),
    "augmentation": Place(
        (*ALBUMENTATIONS, *_of("dlcpose.augmentations.window", "AnimalCut", "AnimalWindow")),
        base="albumentations.BasicTransform",
        inner={
            **{"transforms": "augmentation", "first": "augmentation", "second": "augmentation"},
            **{"keypoint_params": "point_format", "bbox_params": "point_format"},
        },
    ),
    "point_format": Place(_of("albumentations", "BboxParams", "KeypointParams")),
    # ---- how it is trained, and what is told of it
    "optimizer": Place(
        (*OPTIMIZERS, "dlcpose.optimizers.layerwise.layerwise"),
        base="torch.optim.Optimizer",
        inner={"kind": "optimizer"},
    ),
    "scheduler": Place(_of("dlcpose.schedulers.curves", "constant", "cosine", "multistep", "plateau")),
    "metric": Place(
        _of(
            "dlcpose.metrics",
            *("boxes.BoxAveragePrecision", "counts.Counts", "deeplabcut.DeepLabCutFigures"),
            *("identity.IdentityAccuracy", "oks.ObjectKeypointSimilarity", "pck.PercentageOfCorrectKeypoints"),
            "pixel_error.PixelError",
        ),
        inner={"boxes": "box_rule"},
        several=True,
    ),
    "callbacks": Place(
        (
            # Of Lightning's, those that write no files: our own get the run folder from the run.
            *_of(
                "pytorch_lightning.callbacks",
                *("DeviceStatsMonitor", "EarlyStopping", "GradientAccumulationScheduler", "LearningRateMonitor"),
                *("ModelSummary", "RichModelSummary", "Timer"),
            ),
            *_of(
                "dlcpose.callbacks",
                *("averaging.ExponentialMovingAverage", "averaging.StochasticWeightAverage", "best.BestCheckpoint"),
                *(
                    "collapse.CollapseWatch",
                    "freezing.FreezeBackbone",
                    "last.LastCheckpoint",
                    "last.PreemptionCheckpoint",
                ),
                *("limbs.PafGraphPruning", "pictures.PosePictures", "progress.Progress", "pruning.TrialPruning"),
            ),
        ),
        base="pytorch_lightning.Callback",
        several=True,
    ),
    "logger": Place(
        _of(
            "dlcpose.loggers",
            *("csv.ContinuedCSVLogger", "mlflow.MlflowTracker", "tensorboard.TensorBoardTracker", "wandb.WandbTracker"),
        ),
        base="pytorch_lightning.loggers.Logger",
        several=True,
    ),
    "trainer": Place(("pytorch_lightning.Trainer",), base="pytorch_lightning.Trainer"),
}
# Of a config that a checkpoint brings along, what a model is built from.
MODEL_GROUPS = ("pipeline", "backbone", "neck", "head", "side_head", "detector", "condition", "fusion")
