"""Whether LeRobot loads, iterates, edits and trains on datasets of this program.

    python -m venv lr && lr/bin/pip install lerobot==0.4.4
    lr/bin/python python/lerobot_check.py DATASET [DATASET ...] --work FOLDER

Needs neither network nor accelerator. Prints one line a check; the first that fails ends it with a traceback. What LeRobot
wrote is left in FOLDER, so that `etude dataset check FOLDER/...` can read it back.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets, remove_feature, split_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def load(root: Path, **options) -> LeRobotDataset:
    return LeRobotDataset(f"local/{root.name}", root=root, video_backend="pyav", **options)


def said(name: str, words: str, began: float) -> None:
    print(f"  {name:<10} {words} ({time.time() - began:.1f} s)", flush=True)


def iterate(root: Path) -> LeRobotDataset:
    """Every row is there, in order, and the pictures have the size and range that the features promise."""
    began = time.time()
    dataset = load(root)
    features, videos = dataset.meta.features, dataset.meta.video_keys
    step = max(1, len(dataset) // 200)
    for index in range(0, len(dataset), step):
        item = dataset[index]
        assert int(item["index"]) == index and isinstance(item["task"], str) and item["task"]
        for key, feature in features.items():
            if key in videos:
                height, width, channels = feature["shape"]
                assert tuple(item[key].shape) == (channels, height, width) and 0 <= item[key].min() <= item[key].max() <= 1
            elif feature["dtype"] not in ("string",):
                assert np.isfinite(np.asarray(item[key], dtype=np.float64)).all(), key
                count = int(np.prod(feature["shape"]))
                assert item[key].numel() == count, (key, tuple(item[key].shape), feature["shape"])
    extra = [key for key in features if key.startswith(("etude.", "next."))]
    said("loads", f"{dataset.num_episodes} episodes, {len(dataset)} rows, {len(videos)} cameras, extra {extra}", began)
    return dataset


def windows(root: Path, fps: int) -> None:
    """Past pictures and future actions; beyond the ends of an episode they are marked as padding."""
    began = time.time()
    cameras = load(root).meta.video_keys
    ahead = [step / fps for step in range(8)]
    times = {"action": ahead, "observation.state": [-1 / fps, 0.0]} | {key: [-1 / fps, 0.0] for key in cameras}
    dataset = load(root, delta_timestamps=times)
    first, last = dataset[0], dataset[int(dataset.meta.episodes[0]["length"]) - 1]
    assert tuple(first["action"].shape)[0] == 8 and bool(first["observation.state_is_pad"][0])
    assert last["action_is_pad"].tolist() == [False] + [True] * 7
    plain = load(root)
    middle = dataset[5]
    for step in range(8):
        assert torch.equal(middle["action"][step], plain[5 + step]["action"])
    for key in cameras:
        assert torch.equal(middle[key][0], plain[4][key]) and torch.equal(middle[key][1], plain[5][key])
    said("windows", f"8 actions ahead, 1 picture back, of {len(cameras)} cameras", began)


def edits(root: Path, dataset: LeRobotDataset, work: Path) -> None:
    """LeRobot's own tools; what they leave still loads."""
    began = time.time()
    count = dataset.num_episodes
    if count < 3:
        said("edits", "left out: they want three episodes", began)
        return
    deleted = delete_episodes(dataset, [1], output_dir=work / "deleted", repo_id="local/deleted")
    assert deleted.num_episodes == count - 1
    halves = split_dataset(dataset, {"a": list(range(count // 2)), "b": list(range(count // 2, count))}, output_dir=work / "split")
    parts = [load(part.root) for part in halves.values()]
    assert sum(part.num_episodes for part in parts) == count
    merged = merge_datasets(parts, output_repo_id="local/merged", output_dir=work / "merged")
    assert (merged.num_episodes, len(merged)) == (count, len(dataset))
    row = len(dataset) - 3
    again = load(work / "merged")
    assert torch.equal(again[row]["action"], dataset[row]["action"])
    for key in dataset.meta.video_keys:
        assert (again[row][key] - dataset[row][key]).abs().mean() < 0.03, key
    extra = next((key for key in dataset.meta.features if key.startswith("etude.")), None)
    if extra:
        fewer = remove_feature(dataset, extra, output_dir=work / "fewer", repo_id="local/fewer")
        assert extra not in fewer.meta.features and len(fewer) == len(dataset)
    said("edits", "deletes, splits, merges, removes a column", began)


def append(root: Path, work: Path) -> None:
    """LeRobot goes on recording into it."""
    began = time.time()
    copy = work / "appended"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".etude"))
    dataset = load(copy)
    before = dataset.num_episodes
    defaults = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    for step in range(12):
        frame = {"task": "Another task"}
        for key, feature in dataset.meta.features.items():
            shape = tuple(feature["shape"])
            if key in defaults:
                continue
            if feature["dtype"] == "video":
                frame[key] = np.full(shape, 20 * step, dtype=np.uint8)
            elif feature["dtype"] == "string":
                frame[key] = ""
            else:
                frame[key] = np.full(shape, step, dtype=feature["dtype"])
        dataset.add_frame(frame)
    dataset.save_episode()
    dataset.finalize()
    assert load(copy).num_episodes == before + 1
    said("appends", "an episode of 12 rows", began)


def train(root: Path) -> None:
    """Steps of ACT on it: the loss is finite and falls."""
    from lerobot.configs.types import FeatureType
    from lerobot.datasets.utils import dataset_to_policy_features
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    began = time.time()
    meta = load(root).meta
    if not meta.video_keys:
        said("trains", "left out: LeRobot's ACT wants a picture", began)
        return
    features = dataset_to_policy_features(meta.features)
    outputs = {key: feature for key, feature in features.items() if key == "action"}
    inputs = {key: feature for key, feature in features.items() if key not in outputs and key.startswith("observation.")}
    strays = [key for key, feature in features.items() if key not in inputs and feature.type in (FeatureType.STATE, FeatureType.ENV)]
    assert not strays, f"LeRobot takes these for inputs: {strays}"
    size = dict(dim_model=64, n_heads=2, dim_feedforward=128, n_encoder_layers=1, n_vae_encoder_layers=1)
    config = ACTConfig(
        input_features=inputs, output_features=outputs, chunk_size=8, n_action_steps=8, pretrained_backbone_weights=None,
        device="cpu", **size,
    )
    torch.manual_seed(0)
    policy = ACTPolicy(config)
    before, _ = make_pre_post_processors(config, dataset_stats=meta.stats)
    times = {"action": [step / meta.fps for step in config.action_delta_indices]}
    loader = torch.utils.data.DataLoader(load(root, delta_timestamps=times), batch_size=4, shuffle=True)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    losses = []
    policy.train()
    for batch, _ in zip(loader, range(4)):
        loss, _ = policy.forward(before(batch))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all() and losses[-1] < losses[0], losses
    said("trains", f"ACT, inputs {sorted(inputs)}, loss {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} steps", began)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("datasets", nargs="+", type=Path)
    options.add_argument("--work", type=Path, required=True, help="an empty folder for what LeRobot writes")
    options = options.parse_args()
    torch.set_num_threads(1)
    for number, root in enumerate(options.datasets):
        print(root, flush=True)
        work = options.work / str(number)
        work.mkdir(parents=True)
        dataset = iterate(root)
        windows(root, dataset.fps)
        edits(root, dataset, work)
        append(root, work)
        train(root)


if __name__ == "__main__":
    main()
