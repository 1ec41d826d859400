"""Measures the speed of `etude serve-env` from Python: worlds x steps a second."""

import argparse
import time

from etude_env import EtudeVectorEnv

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--worlds", type=int, default=8)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--task", default="move_t")
parser.add_argument("--cameras", default="overview,wrist")
parser.add_argument("--size", default="96x96")
parser.add_argument("--etude", default=None, help="the program, if it is not on the path")
args = parser.parse_args()

options = {"task": args.task, "cameras": args.cameras}
if args.cameras != "none":
    options["size"] = args.size
env = EtudeVectorEnv(args.worlds, etude=args.etude, **options)
observations, _ = env.reset(range(args.worlds))
began = time.perf_counter()
for step in range(args.steps):
    observations, reward, terminated, truncated, _ = env.step(observations["state"])
elapsed = time.perf_counter() - began
print(f"{args.worlds} worlds, {args.cameras}: {args.worlds * args.steps / elapsed:.0f} steps/s")
env.close()
