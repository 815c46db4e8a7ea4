"""A gateway for the client scripts: started in a folder of its own on free ports, ended when the block is left."""
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.request

KEY = "aicp_us_ann_0123456789abcdef0123456789abcdef"
LIMITED_KEY = "aicp_us_ann_1111111111111111"
ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary(given=None):
    """The program: as given, $AICARPOOL, or the newest that was built."""
    if given or os.environ.get("AICARPOOL"):
        return pathlib.Path(given or os.environ["AICARPOOL"]).resolve()
    built = [ROOT / "target" / profile / "aicarpool" for profile in ("release", "debug", "dist")]
    built = [path for path in built if path.exists()]
    if not built:
        raise SystemExit("no target/*/aicarpool: build it, or give its path")
    return max(built, key=lambda path: path.stat().st_mtime)


def configuration(listen, stub, folder):
    """One account a dialect, all at the stub. JSON is YAML."""
    origin = f"http://127.0.0.1:{stub}"
    audio = ["gpt-*", "o*", "text-embedding-*", "whisper-*", "omni-moderation-*", "qwen*"]
    return {
        "listen": f"127.0.0.1:{listen}", "admin": "off", "run_dir": str(folder / "run"), "data_dir": str(folder / "data"),
        "access_log": {"path": str(folder / "access.log")}, "health": "off",
        "accounts": [
            {"id": "claude-1", "service": "claude", "key": "sk-stub-claude", "endpoints": {"anthropic": origin}, "models": ["claude-*"]},
            {"id": "openai-1", "service": "openai", "key": "sk-stub-openai", "endpoints": {"openai": origin + "/v1"}, "models": audio},
            {"id": "gemini-1", "service": "gemini", "key": "sk-stub-gemini", "endpoints": {"gemini": origin}, "models": ["gemini-*"]}],
        "groups": [{"id": "us", "binding": {"accounts": ["claude-1", "openai-1", "gemini-1"]}}],
        "users": [{"id": "ann", "groups": ["us"]}],
        "keys": [{"key": KEY, "name": "laptop"}, {"key": LIMITED_KEY, "name": "limited", "models": ["*-small"]}]}


class Gateway:
    def __init__(self, stub_port, program=None):
        self.stub_port, self.program = stub_port, binary(program)

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="aicarpool-clients-")
        self.folder = pathlib.Path(self.temporary.name)
        for attempt in range(5):  # a port found free may be taken by the time the gateway binds it
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            conf = self.folder / "aicarpool.yaml"
            conf.write_text(json.dumps(configuration(self.port, self.stub_port, self.folder), indent=1))
            with open(self.folder / "stderr.log", "ab") as errors:
                self.process = subprocess.Popen([self.program, "-c", conf], stdout=errors, stderr=errors, cwd=self.folder)
            if self.ready():
                self.url = f"http://127.0.0.1:{self.port}"
                return self
        raise SystemExit(f"{self.program} did not come up:\n{self.said()}")

    def ready(self):
        until = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                    return answer.status == 200
            except OSError:
                time.sleep(0.05)
        self.end()
        return False

    def said(self):
        return (self.folder / "stderr.log").read_text(errors="replace")[-4000:]

    def log(self):
        path = self.folder / "access.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_):
        self.end()
        self.temporary.cleanup()


def judged(requests, lines):
    """Faults in what the stub received and what the log says, whatever the client was."""
    faults = []
    for request in requests:
        text = json.dumps(request)
        if "aicp_" in text:
            faults.append(f"the caller's key reached the provider: {text[:300]}")
        names = [name.lower() for name, _ in request["headers"]]
        credentials = [name for name in names if name in ("authorization", "x-api-key", "x-goog-api-key", "api-key")]
        if len(credentials) != 1:
            faults.append(f"credentials of {request['method']} {request['path']}: {credentials}")
    for line in lines:
        if line.get("outcome") == "ok" and line.get("operation") in ("messages", "chat", "responses", "generate") and line.get("basis") != "reported":
            faults.append(f"basis of {line.get('path')} is {line.get('basis')}: {json.dumps(line)}")
    return faults
