"""What the model sees: a contact sheet of augmented frames with their labels."""

from pathlib import Path

from dlcpose.config.compose import compose


def preview_command(overrides: list[str], out: Path, frames: int) -> None:
    """Draw augmented training frames of the config that the overrides compose."""
    config = compose(overrides)  # before what takes seconds to import: a misspelt name is told at once
    import numpy as np

    from dlcpose.build import build_input, build_trunk
    from dlcpose.datasets.crops import augment, fit_to_canvas, keep_keypoints
    from dlcpose.instantiate import Instantiator
    from dlcpose.training.validate import KEYS, check_keys
    from dlcpose.visualization.pictures import contact_sheet, draw_poses, write_png

    check_keys(config, KEYS)
    instantiate = Instantiator(tuple(config["trust"]))
    trunk = build_trunk(config, instantiate)
    data = instantiate(config["dataset"], "dataset")
    keys = set(instantiate(config["split"], "split")(data).train)
    indices = [index for index, frame in enumerate(data.frames) if frame.key in keys]
    sizes = [(frame.height, frame.width) for frame in data.frames]
    model_input = build_input(config, instantiate, trunk, sizes)
    transform = keep_keypoints(instantiate(config["augmentation"], "augmentation"))
    drawn, captions = [], []
    for number, index in enumerate(np.resize(indices, frames)):
        crop = augment(fit_to_canvas(data[int(index)], model_input), transform, data.skeleton, config["seed"] + number)
        drawn.append(draw_poses(crop.image, crop.keypoints_in_crop, data.skeleton))
        captions.append(crop.key)
    write_png(out, contact_sheet(drawn, captions, columns=4, tile=320))
    print(f"{out}: {frames} training frames as the model sees them")
