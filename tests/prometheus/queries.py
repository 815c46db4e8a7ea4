#!/usr/bin/env python3
"""Checks every query of grafana/: of the dashboard's panels, variables and annotations, and of the alert rules.

    queries.py --static                                      names and layout; needs no server
    queries.py --metrics http://127.0.0.1:4001/metrics       against a running gateway, which needs traffic all the while

The second starts a real Prometheus on a free port in a folder of its own (both gone at the end), lets it scrape that address every
second, and asks each query until it answers, at most --seconds long. What may answer nothing stands in EMPTY_METRICS and
EMPTY_QUERIES with its reason; with --everything nothing may (traffic with faults of all kinds).
Exit code 0: all is well; 1: what is not is listed.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "grafana/dashboards/aicarpool.json"
ALERTS = ROOT / "grafana/prometheus/alerts.yml"
ALERTS_TEST = ROOT / "tests/prometheus/alerts_test.yml"

# The metrics there are, with their labels (design section 11).
REQUEST = {"enterprise", "group", "service", "dialect", "model", "status", "outcome"}
SPENT = {"enterprise", "group", "service", "model"}
METRICS = {
    "requests_total": REQUEST,
    "tokens_total": SPENT | {"class"},
    "cost_nanodollars_total": SPENT,
    "charged_nanodollars_total": SPENT,
    "request_duration_seconds": {"le"},
    "time_to_first_byte_seconds": {"le"},
    "overhead_seconds": {"le"},
    "attempts_total": {"account", "verdict"},
    "failovers_total": {"group", "verdict"},
    "account_in_flight": {"account"},
    "account_parked": {"account", "reason"},
    "refusals_total": {"code", "group"},
    "config_reload_total": set(),
    "config_reload_failed": set(),
    "config_keys": set(),
    "config_info": {"hash"},
    "config_loaded_timestamp_seconds": set(),
    "cert_expiry_seconds": {"address"},
    "unpriced_requests_total": {"model"},
    "usage_implausible_total": {"account"},
    "access_log_dropped_total": set(),
    "build_info": {"version"},
}
HISTOGRAMS = {"request_duration_seconds", "time_to_first_byte_seconds", "overhead_seconds"}
SCRAPED = {"instance", "job"}

# Metrics that a healthy gateway may not have at all.
EMPTY_METRICS = {
    "account_parked": "no account was parked",
    "failovers_total": "every first attempt succeeded",
    "refusals_total": "nothing was refused",
    "unpriced_requests_total": "every model used has a price",
    "usage_implausible_total": "every usage reported was plausible",
    "cert_expiry_seconds": "no listener has tls",
}
# Panels that look for a part of a metric that healthy traffic may not have.
EMPTY_QUERIES = {
    "Failing share by group": "no group met a provider's fault",
    "Not ok, by status": "every request was ok",
    "Parkings": "no account was parked",
    "Attempts that failed, by account": "every attempt was accepted",
    "Failovers for each request, by group": "every first attempt succeeded",
    "Prompt tokens read from the provider's cache": "no prompt was cached",
    "Pictures, searches, seconds of audio": "none were asked for",
    "annotation Reloads": "nothing was reloaded just now",
}


# Where tests/install unpacks Prometheus on machines that have none.
UNPACKED = ROOT / "target/tools/prometheus/usr/bin"


class Query:
    """One query: what it stands in, its text, and whether it is an alert's (which a healthy gateway answers with nothing)."""

    def __init__(self, title, text, alert=False):
        self.title, self.text, self.alert = title, text, alert

    def selectors(self):
        """The metrics named, without prefix and histogram suffix, each with the labels it is filtered by."""
        for name, matchers in re.findall(r"\baicarpool_(\w+)(?:\{([^}]*)\})?", self.text):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            yield (base if base in HISTOGRAMS else name), set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))

    def grouping(self):
        """The labels named by `by (…)` and `on (…)`."""
        lists = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", self.text)
        return {label.strip() for labels in lists for label in labels.split(",")}

    def asked(self):
        """The text as Prometheus takes it: Grafana's variables filled in."""
        values = {"$__rate_interval": "30s", "$__range": "1m", "$enterprise": ".*", "$group": ".*", "$service": ".*"}
        text = self.text
        for name, value in values.items():
            text = text.replace(name, value)
        return text


def dashboard_queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield Query(panel["title"], target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield Query("annotation " + annotation["name"], annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
        if found:
            yield Query("variable " + variable["name"], f"count by ({found[2]}) ({found[1]})")


def alert_queries(text):
    """Reads `alert:` and `expr:` out of the rules, as they are written there (Python has no YAML of its own)."""
    for block in re.split(r"^ *- alert: ", text, flags=re.M)[1:]:
        name = block.split("\n", 1)[0].strip()
        long = re.search(r"^( +)expr: \|\n((?:\1 +.*\n)+)", block, flags=re.M)
        short = re.search(r"^ +expr: ([^|\n].*)$", block, flags=re.M)
        yield Query(name, (long[2] if long else short[1]).strip(), alert=True)


# ------------------------------------------------------------------ names and layout


def static_faults(dashboard, queries):
    used = set()
    for query in queries:
        labels = set(SCRAPED)
        for metric, filtered in query.selectors():
            used.add(metric)
            if metric not in METRICS:
                yield f"{query.title}: there is no metric aicarpool_{metric}"
                continue
            labels |= METRICS[metric]
            for label in filtered - METRICS[metric] - SCRAPED:
                yield f"{query.title}: aicarpool_{metric} has no label {label}"
        for label in query.grouping() - labels:
            yield f"{query.title}: none of its metrics has a label {label}"
    for metric in METRICS.keys() - used:
        yield f"aicarpool_{metric} is in no panel and no alert"
    yield from layout_faults(dashboard)

    tested = set(re.findall(r'value: 1, labels: \'ALERTS\{alertname="(\w+)"', ALERTS_TEST.read_text()))
    for query in queries:
        if query.alert and query.title not in tested:
            yield f"{query.title}: no test in {ALERTS_TEST.relative_to(ROOT)} makes it fire"
    for title in EMPTY_QUERIES.keys() - {query.title for query in queries}:
        yield f"EMPTY_QUERIES names {title!r}, which is gone"


def layout_faults(dashboard):
    panels, taken, ids = dashboard["panels"], {}, set()
    for panel in panels:
        title, place = panel["title"], panel["gridPos"]
        if panel["id"] in ids:
            yield f"{title}: its id {panel['id']} is another panel's too"
        ids.add(panel["id"])
        if place["x"] + place["w"] > 24:
            yield f"{title}: reaches beyond the right edge"
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            if cell in taken:
                yield f"{title}: lies on {taken[cell]}"
                break
            taken[cell] = title
        if panel["type"] != "row" and not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{title}: has no unit"
        for target in panel.get("targets", []):
            if target["datasource"] != {"type": "prometheus", "uid": "${datasource}"}:
                yield f"{title}: does not take its data from the variable datasource"


# ------------------------------------------------------------------ a real Prometheus


class Prometheus:
    """Scrapes one address every second, with the project's rules; ended by `stop`."""

    def __init__(self, metrics_url, folder):
        self.folder = pathlib.Path(folder)
        address = urllib.parse.urlsplit(metrics_url)
        shutil.copy(ALERTS, self.folder / "alerts.yml")
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [
                {
                    "job_name": "aicarpool",
                    "scheme": address.scheme,
                    "metrics_path": address.path or "/metrics",
                    "static_configs": [{"targets": [address.netloc]}],
                }
            ],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.process = None

    def start(self):
        """On a port that was free a moment ago; another program may have taken it since, so up to five times."""
        for _ in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            self.base = f"http://127.0.0.1:{port}"
            command = [
                shutil.which("prometheus") or str(UNPACKED / "prometheus"),
                f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ]
            if shutil.which("setpriv"):  # ends with this script, however that ends
                command = ["setpriv", "--pdeathsig", "TERM", *command]
            self.log = open(self.folder / "log", "wb")
            self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, cwd=self.folder)
            if self.is_ready(time.monotonic() + 30):
                return
            self.stop()
        raise SystemExit("Prometheus did not start:\n" + self.log_text())

    def is_ready(self, deadline):
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/-/ready")
                return True
            except OSError:
                time.sleep(0.1)
        return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def log_text(self):
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def get(self, path, **parameters):
        url = self.base + path + ("?" + urllib.parse.urlencode(parameters, doseq=True) if parameters else "")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never through a proxy
        with opener.open(url, timeout=10) as answer:
            return answer.read()

    def api(self, path, **parameters):
        try:
            return json.loads(self.get("/api/v1" + path, **parameters))
        except urllib.error.HTTPError as error:  # a query that Prometheus does not take: its body says why
            return json.loads(error.read())

    def labels_of(self, metric):
        """The labels of all series of a metric; none when it has no series."""
        name = f"aicarpool_{metric}" + ("_bucket" if metric in HISTOGRAMS else "")
        series = self.api("/series", **{"match[]": name})["data"]
        return {label for one in series for label in one} or None


def live_fault(prometheus, query, everything):
    """What is wrong with a query's answer just now; None if nothing is."""
    answer = prometheus.api("/query", query=query.asked())
    if answer["status"] != "success":
        return answer["error"]
    missing = set()
    for metric, filtered in query.selectors():
        labels = prometheus.labels_of(metric)
        if labels is None:
            missing.add(metric)
        elif not filtered <= labels:
            return f"no series of aicarpool_{metric} has {', '.join(sorted(filtered - labels))}"
    if everything and missing or missing - EMPTY_METRICS.keys():
        return "no series of " + ", ".join(f"aicarpool_{metric}" for metric in sorted(missing))
    if query.alert or missing:
        return None  # quiet, or nothing to count yet
    if any(not math.isnan(float(sample["value"][1])) for sample in answer["data"]["result"]):
        return None
    if query.title in EMPTY_QUERIES and not everything:
        return None
    return "answers nothing (is there traffic?)"


def rule_faults(prometheus):
    """Rules that Prometheus could not evaluate; those it has not come to yet count too."""
    for group in prometheus.api("/rules")["data"]["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                yield f"{rule['name']}: {rule.get('lastError') or 'not evaluated yet'}"


def scrape_fault(prometheus):
    """Waits for the first scrape (Prometheus takes 5 s to find its target); what went wrong with it, None if nothing."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for target in prometheus.api("/targets")["data"]["activeTargets"]:
            if target["health"] != "unknown":
                return target["lastError"] or None
        time.sleep(0.2)
    return "no scrape within 20 s"


def live_faults(prometheus, queries, seconds, everything):
    deadline = time.monotonic() + seconds
    while True:
        faults = [f"{query.title}: {fault}" for query in queries if (fault := live_fault(prometheus, query, everything))]
        faults += rule_faults(prometheus)
        if not faults or time.monotonic() > deadline:
            return faults
        time.sleep(0.5)


def live(metrics_url, queries, seconds, everything):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs
    with tempfile.TemporaryDirectory(prefix="aicarpool-prometheus-") as folder:
        prometheus = Prometheus(metrics_url, folder)
        try:
            prometheus.start()
            if fault := scrape_fault(prometheus):
                return [f"{metrics_url} could not be scraped: {fault}"], []
            faults = live_faults(prometheus, queries, seconds, everything)
            absent = [metric for metric in EMPTY_METRICS if prometheus.labels_of(metric) is None]
            return faults, absent
        finally:
            prometheus.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--static", action="store_true")
    what.add_argument("--metrics", metavar="URL")
    parser.add_argument("--seconds", type=float, default=40, help="how long a query may answer nothing (default 40)")
    parser.add_argument("--everything", action="store_true", help="no query may answer nothing")
    options = parser.parse_args()

    dashboard = json.loads(DASHBOARD.read_text())
    queries = [*dashboard_queries(dashboard), *alert_queries(ALERTS.read_text())]
    faults = list(static_faults(dashboard, queries))
    if options.metrics and not faults:
        faults, absent = live(options.metrics, queries, options.seconds, options.everything)
        for metric in absent:
            print(f"aicarpool_{metric} has no series: {EMPTY_METRICS[metric]}")
    for fault in faults:
        print(fault)
    print(f"{len(queries)} queries, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
