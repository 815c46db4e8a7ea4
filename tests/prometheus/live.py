#!/usr/bin/env python3
"""A real Prometheus scrapes a running gateway under traffic, and every query of the dashboard and of the rules is asked (queries.py).

    tests/prometheus/live.py target/debug/aicarpool

Starts the gateway on free ports with accounts of the service `demo` and one that nobody answers for, keeps requests coming (served,
failed over, refused), and ends everything. Standard library only.
"""
import http.client, json, pathlib, socket, subprocess, sys, tempfile, threading, time

KEY = "aicp_demo_you_00000000000000000000000000000000"
HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def configuration(port, admin, nobody):
    return {
        "listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}", "access_log": {"path": "access.log"},
        "enterprises": [{"id": "acme"}],
        "services": [{"id": "down", "endpoints": {"anthropic": f"http://127.0.0.1:{nobody}"}}],
        "accounts": [
            {"id": "demo-1", "service": "demo", "enterprise": "acme"},
            {"id": "down-1", "service": "down", "enterprise": "acme", "key": "none", "models": ["*"]},
            {"id": "demo-2", "service": "demo", "enterprise": "acme", "exclusive": False},
        ],
        "groups": [
            {"id": "demo", "enterprise": "acme", "binding": {"accounts": ["demo-1"]}},
            {"id": "mixed", "enterprise": "acme", "binding": {"accounts": ["down-1", {"id": "demo-2", "priority": 2}]}},
        ],
        "users": [{"id": "you", "groups": ["demo", "mixed"]}],
        "keys": [{"key": KEY}, {"key": KEY.replace("demo", "mixed", 1)}],
    }


def ask(port, key, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01"})
        connection.getresponse().read()
    except OSError:
        pass  # the gateway is being stopped
    finally:
        connection.close()


def traffic(port, stop):
    message = [{"role": "user", "content": "hello"}]
    while not stop.is_set():
        for key in (KEY, KEY.replace("demo", "mixed", 1), "aicp_nobody"):
            ask(port, key, "/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 50, "stream": True, "messages": message})
        ask(port, KEY, "/v1/chat/completions", {"model": "gpt-4o", "messages": message})
        ask(port, KEY, "/v1/chat/completions", {"model": "nobody-knows-its-price", "messages": message})
        stop.wait(0.05)


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="live-") as folder:
        folder = pathlib.Path(folder)
        port, admin = free_port(), free_port()
        (folder / "aicarpool.yaml").write_text(json.dumps(configuration(port, admin, free_port()), indent=1))
        with open(folder / "stderr.log", "wb") as errors:
            gateway = subprocess.Popen([binary, "run", "-c", folder / "aicarpool.yaml"], stdout=errors, stderr=errors)
        stop = threading.Event()
        asker = threading.Thread(target=traffic, args=(port, stop))
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", admin), 1).close()
                    break
                except OSError:
                    if gateway.poll() is not None or time.monotonic() > until:
                        print((folder / "stderr.log").read_text(errors="replace"))
                        return 1
                    time.sleep(0.05)
            asker.start()
            return subprocess.run([HERE / "queries.py", "--metrics", f"http://127.0.0.1:{admin}/metrics"]).returncode
        finally:
            stop.set()
            if asker.is_alive():
                asker.join()
            gateway.terminate()
            gateway.wait(20)


if __name__ == "__main__":
    sys.exit(main())
