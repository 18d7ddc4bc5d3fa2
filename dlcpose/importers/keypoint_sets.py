"""Keypoints of published models, in the order of their outputs: weights say how many there are, not which.

Names are those of the data sets' own annotation files, edges and left/right pairs follow from them. Sources: the annotation
files of AP-10K (Yu et al. 2021), Animal-Pose (Cao et al. 2019) and COCO (Lin et al. 2014); sigmas as in MMPose's
descriptions of these data sets.
"""

from dlcpose.structures.skeleton import Skeleton, pairs_from_names


def _skeleton(names: tuple[str, ...], edges: tuple[tuple[int, int], ...], sigmas: tuple[float, ...]) -> Skeleton:
    return Skeleton(names, edges=edges, pairs=pairs_from_names(names), sigmas=sigmas)


AP10K = _skeleton(
    (
        *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw"),
        *("right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip"),
        *("right_knee", "right_back_paw"),
    ),
    (
        *((0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10)),
        *((4, 11), (11, 12), (12, 13), (4, 14), (14, 15), (15, 16)),
    ),
    (
        *(0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087),
        *(0.089, 0.089),
    ),
)
ANIMAL_POSE = _skeleton(
    (
        *("L_Eye", "R_Eye", "L_EarBase", "R_EarBase", "Nose", "Throat", "TailBase", "Withers", "L_F_Elbow"),
        *("R_F_Elbow", "L_B_Elbow", "R_B_Elbow", "L_F_Knee", "R_F_Knee", "L_B_Knee", "R_B_Knee", "L_F_Paw"),
        *("R_F_Paw", "L_B_Paw", "R_B_Paw"),
    ),
    (
        *((0, 1), (0, 2), (1, 3), (0, 4), (1, 4), (4, 5), (5, 7), (6, 7), (5, 8), (8, 12), (12, 16), (5, 9)),
        *((9, 13), (13, 17), (6, 10), (10, 14), (14, 18), (6, 11), (11, 15), (15, 19)),
    ),
    (
        *(0.025, 0.025, 0.026, 0.035, 0.035, 0.1, 0.1, 0.1, 0.107, 0.107, 0.107, 0.107, 0.087, 0.087, 0.087, 0.087),
        *(0.089, 0.089, 0.089, 0.089),
    ),
)
COCO = _skeleton(
    (
        *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
        *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
        *("left_ankle", "right_ankle"),
    ),
    (
        *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9)),
        *((8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    ),
    (
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087),
        *(0.089, 0.089),
    ),
)
KEYPOINT_SETS = {"ap10k": AP10K, "animalpose": ANIMAL_POSE, "coco": COCO}
