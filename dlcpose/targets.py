"""What a config may build: for each place in it, by name.

A list of trusted packages is no boundary: constructors of data sets, loggers and readers of other packages unpack
archives, run commands and load files. So each place of a config has a list of what may stand there, and nothing else is
imported or called. Of dlcpose's own packages these are all classes that derive from the place's base, so adding a part
adds no line here; of other packages they are named one by one, so that no release of a library widens it. See
docs/trust.md.
"""

from dlcpose.model_groups import MODEL_GROUPS, Place


def _of(package: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{package}.{name}" for name in names)


# Of albumentations 2.0.8, what turns, cuts, blurs or recolors an image: nothing that takes a function, reads further
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

PLACES: dict[str, Place] = {
    # ---- what a model is made of
    "pipeline": Place("dlcpose.pipelines", base="dlcpose.pipelines.base.PoseModule", inner={"crops": "crops"}),
    **{group.name: group.place for group in MODEL_GROUPS},
    "crops": Place(names=("dlcpose.pipelines.animal_crops.CropSettings",)),
    "refinement": Place(names=_of("dlcpose.codecs.peaks", "refine_by_quarter", "refine_dark", "refine_peaks")),
    "edges": Place("dlcpose.heads.paf_graph"),
    "loss": Place("dlcpose.losses"),
    "box_rule": Place("dlcpose.detectors.box_rules"),
    "detector_training": Place(names=("dlcpose.detectors.base.DetectorTraining",)),
    # ---- what it is trained on
    "dataset": Place("dlcpose.datasets", base="dlcpose.datasets.base.LabeledFrames"),
    "split": Place(names=_of("dlcpose.datasets.splits", "block", "random", "stored", "video")),
    "input": Place(names=_of("dlcpose.structures.input", "letterbox", "native", "resize")),
    "datamodule": Place(names=("dlcpose.datasets.datamodule.PoseDataModule",)),
    "augmentation": Place(
        "dlcpose.augmentations",
        base="dlcpose.augmentations.base.Augmentation",
        inner={"transforms": "transform", "closing": "transform"},
    ),
    "transform": Place(
        "dlcpose.augmentations",
        names=ALBUMENTATIONS,
        base="albumentations.BasicTransform",
        inner={
            **{"transforms": "transform", "first": "transform", "second": "transform"},
            **{"keypoint_params": "point_format", "bbox_params": "point_format"},
        },
    ),
    "point_format": Place(names=_of("albumentations", "BboxParams", "KeypointParams")),
    "unlabeled": Place(names=("dlcpose.unlabeled.video.UnlabeledVideos",), inner={"losses": "video_losses"}),
    "pseudo_labels": Place(names=("dlcpose.postprocessing.pseudo_labels.EnsemblePseudoLabels",)),
    "video_losses": Place("dlcpose.unlabeled", base="dlcpose.unlabeled.base.VideoLoss", several=True),
    # ---- how it is trained, and where that is reported
    "optimizer": Place("dlcpose.optimizers", names=OPTIMIZERS, inner={"kind": "optimizer"}),
    "scheduler": Place("dlcpose.schedulers"),
    "metric": Place(
        "dlcpose.metrics",
        names=("dlcpose.tracking.evaluation.TrackingFigures",),
        base="dlcpose.metrics.base.Metric",
        inner={"boxes": "box_rule"},
        several=True,
    ),
    "callbacks": Place(
        "dlcpose.callbacks",
        # Of Lightning's, those that write no files: our own get the run folder from the run.
        names=_of(
            "pytorch_lightning.callbacks",
            *("DeviceStatsMonitor", "EarlyStopping", "GradientAccumulationScheduler", "LearningRateMonitor"),
            *("ModelSummary", "RichModelSummary", "Timer"),
        ),
        base="pytorch_lightning.Callback",
        several=True,
    ),
    "logger": Place("dlcpose.loggers", base="pytorch_lightning.loggers.Logger", several=True),
    "trainer": Place(names=("pytorch_lightning.Trainer",)),
}
