"""Shards of one dataset as Ray tasks on machines that share a folder; merges them at the end.

python ray_generate.py --shards 8 --out /shared/move_t -- --task move_t --episodes 20000 --size 96x96 --every 3
"""

import argparse
import subprocess

import ray


def generate(etude, shard, shards, out, options):
    """One shard; a task that Ray starts again goes on where the killed one was."""
    folder = f"{out}/shard-{shard}"
    command = [etude, "generate", *options, "--shard", f"{shard}/{shards}", "--out", folder, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"shard {shard}: {done.stderr.strip()}")
    return folder, done.stdout.splitlines()[-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--cpus", type=int, default=1, help="cores of each task; also give --workers to etude")
    parser.add_argument("--out", required=True)
    parser.add_argument("--etude", default="etude")
    parser.add_argument("options", nargs="+", help="options of etude generate, after --")
    args = parser.parse_args()
    ray.init()
    task = ray.remote(num_cpus=args.cpus, max_retries=3, retry_exceptions=True)(generate)
    shards = [task.remote(args.etude, k, args.shards, args.out, args.options) for k in range(args.shards)]
    folders = []
    for folder, line in ray.get(shards):
        folders.append(folder)
        print(line, flush=True)
    subprocess.run([args.etude, "dataset", "merge", *folders, "--out", f"{args.out}/whole"], check=True)
