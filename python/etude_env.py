"""Etude's simulated worlds for Python: Gymnasium-like environments on `etude serve-env`.

Needs the standard library and numpy; where gymnasium is installed, `EtudeEnv` is one of its environments.

    env = EtudeEnv(task="move_t", cameras="overview,wrist", size="96x96")
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(observation["state"])

    worlds = EtudeVectorEnv(8, task="pick_place", cameras="none")
    observations, info = worlds.reset(seeds=range(8))

State and action count joints as LeRobot and Etude's datasets do: degrees, the gripper from 0 (closed) to 100.
"""

import json
import os
import socket
import struct
import subprocess

import numpy as np

try:
    import gymnasium
except ImportError:
    gymnasium = None

PROTOCOL = 1


class EtudeError(RuntimeError):
    """What the server refused, in its own words."""


class Connection:
    """A connection to a server that runs (`address`: a port or a socket file), or to one that is started for it."""

    def __init__(self, address=None, etude=None, **options):
        self.process = None
        if address is None:
            command = [etude or os.environ.get("ETUDE", "etude"), "serve-env", "--once"]
            for name, value in options.items():
                command += ["--" + name.replace("_", "-"), str(value)]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            line = self.process.stdout.readline()
            if not line:
                self.process.stdout.close()
                raise EtudeError(f"{' '.join(command)} ended with {self.process.wait()}; what it said is above")
            told = json.loads(line)
            address = told.get("port", told.get("socket"))
        elif options:
            raise EtudeError(f"a server that runs has its options already: {', '.join(options)}")
        if isinstance(address, int):
            self.socket = socket.create_connection(("127.0.0.1", address))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(address))
        self.spaces = self.ask({"op": "spaces"})[0]
        if self.spaces["protocol"] != PROTOCOL:
            raise EtudeError(f"the server speaks protocol {self.spaces['protocol']}, this client {PROTOCOL}")

    def ask(self, header, payload=b""):
        """Sends a request; its answer as (header, bytes)."""
        head = json.dumps(header).encode()
        self.socket.sendall(struct.pack("<II", len(head), len(payload)) + head + payload)
        head, body = struct.unpack("<II", self._take(8))
        answer = json.loads(bytes(self._take(head)))
        payload = self._take(body)
        if "error" in answer:
            raise EtudeError(answer["error"])
        return answer, payload

    def _take(self, count):
        buffer = bytearray(count)
        view = memoryview(buffer)
        while view:
            got = self.socket.recv_into(view)
            if not got:
                raise EtudeError("the server has gone")
            view = view[got:]
        return buffer

    def close(self):
        self.socket.close()
        if self.process:
            self.process.wait(timeout=10)
            self.process.stdout.close()
            self.process = None


class EtudeVectorEnv:
    """Many worlds that step together. Finished worlds stay as they are until they are reset."""

    def __init__(self, num_envs=1, address=None, etude=None, **options):
        if address is None:
            options["worlds"] = num_envs
        self.connection = Connection(address, etude, **options)
        self.spaces = self.connection.spaces
        self.num_envs = self.spaces["worlds"]
        self.joints = len(self.spaces["joints"])
        self.low = np.array(self.spaces["low"], np.float32)
        self.high = np.array(self.spaces["high"], np.float32)

    def reset(self, seeds, worlds=None):
        """Resets `worlds` (all without a list) to the starts of `seeds`: (observations, info)."""
        header = {"op": "reset", "seeds": [int(seed) for seed in seeds], "worlds": _list(worlds)}
        observations, _, _, _, info = self._observe(header, b"", worlds)
        return observations, info

    def step(self, actions, worlds=None):
        """Steps `worlds` (all without a list): (observations, rewards, terminated, truncated, info)."""
        actions = np.ascontiguousarray(actions, np.float32)
        return self._observe({"op": "step", "worlds": _list(worlds)}, actions.tobytes(), worlds)

    def _observe(self, header, payload, worlds):
        answer, payload = self.connection.ask(header, payload)
        count = self.num_envs if worlds is None else len(worlds)
        props = self.spaces["props"]
        width = self.joints + 5 * len(props)
        numbers = np.frombuffer(payload, np.float32, count * width).reshape(count, width)
        observations = {"state": numbers[:, : self.joints]}
        pictures = np.frombuffer(payload, np.uint8, offset=4 * count * width).reshape(count, -1)
        start = 0
        for camera in self.spaces["cameras"]:
            shape = (camera["height"], camera["width"], 3)
            size = int(np.prod(shape))
            observations[camera["name"]] = pictures[:, start : start + size].reshape(count, *shape)
            start += size
        # Where the objects are, as x, y, z (m), cosine and sine of the yaw: for rewards and checks, not for the policy.
        poses = numbers[:, self.joints :].reshape(count, len(props), 5)
        info = {"props": {name: poses[:, i] for i, name in enumerate(props)}, "instruction": answer["instruction"]}
        reward = np.array(answer["reward"], np.float32)
        return observations, reward, np.array(answer["terminated"]), np.array(answer["truncated"]), info

    def close(self):
        self.connection.close()


class EtudeEnv(gymnasium.Env if gymnasium else object):
    """One world with Gymnasium's interface. The reward is the task's score, 0 to 1."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, address=None, etude=None, render_mode="rgb_array", **options):
        self.worlds = EtudeVectorEnv(1, address, etude, **options)
        self.spaces = self.worlds.spaces
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.spaces["hz"]}
        self._picture = None
        self._seeds = np.random.default_rng()
        if gymnasium:
            box = gymnasium.spaces.Box
            self.action_space = box(self.worlds.low, self.worlds.high)
            cameras = {
                camera["name"]: box(0, 255, (camera["height"], camera["width"], 3), np.uint8)
                for camera in self.spaces["cameras"]
            }
            state = box(self.worlds.low - 1, self.worlds.high + 1)
            self.observation_space = gymnasium.spaces.Dict({"state": state, **cameras})

    def reset(self, *, seed=None, options=None):
        if gymnasium:
            super().reset(seed=seed)
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        else:
            seed = int(self._seeds.integers(1 << 31))
        observation, info = self.worlds.reset([seed])
        return self._first(observation), self._info(info)

    def step(self, action):
        observation, reward, terminated, truncated, info = self.worlds.step([action])
        return self._first(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), self._info(info)

    def render(self):
        return self._picture

    def close(self):
        self.worlds.close()

    @staticmethod
    def _info(info):
        props = {name: pose[0] for name, pose in info["props"].items()}
        return {"props": props, "instruction": info["instruction"][0]}

    def _first(self, observations):
        one = {name: value[0] for name, value in observations.items()}
        if self.spaces["cameras"]:
            self._picture = one[self.spaces["cameras"][0]["name"]]
        return one


def _list(worlds):
    return None if worlds is None else [int(world) for world in worlds]
