"""Every query of the rules and of the dashboard, asked of a real Prometheus that scrapes the real server under load.

A query that parses and finds nothing is an empty panel or an alert that never comes; both look like peace.
"""

import concurrent.futures
import json
import math
import re
import subprocess
import tempfile
import time
import unittest
from pathlib import Path
from urllib.parse import quote

from support import DOCKER, ROOT, Program, Server, free_port, main, post_image, request

PROMETHEUS = DOCKER / "prometheus"
DASHBOARD = DOCKER / "grafana" / "dashboards" / "density-server.json"
MANY_IMAGES = ROOT / "models" / "repository" / "fashion-mnist-pixelcnn" / "1" / "golden_images.npy"
LOAD_SECONDS = 25
CLIENTS = 16

# What only a server with TLS has; tests/security and tests/adversity hold their names.
WITH_TLS = {"density_tls_certificate_expiry_timestamp_seconds", "density_secrets_failing"}

# Grafana's variables, as a person who has chosen nothing has them.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$model": ".*"}


class Rules(unittest.TestCase):
    def test_rules_do_what_their_tests_say(self):
        subprocess.run(["promtool", "check", "config", "prometheus.yml"], cwd=PROMETHEUS, check=True)
        subprocess.run(["promtool", "test", "rules", "tests.yml"], cwd=PROMETHEUS, check=True)

    def test_every_alert_has_a_test_and_a_runbook(self):
        alerts = re.findall(r"alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text())
        tests = (PROMETHEUS / "tests.yml").read_text()
        runbook = (DOCKER / "README.md").read_text()
        for alert in alerts:
            self.assertIn(f"alertname: {alert}", tests)
            self.assertIn(f"`{alert}`", runbook)


class LiveScrape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A queue that takes any one request, and not those of all clients.
        cls.server = Server("--interactive-queue", "0.02")
        cls.addClassCleanup(cls.server.__exit__)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.prometheus = cls.start_prometheus(Path(folder.name))
        cls.addClassCleanup(cls.prometheus.__exit__)
        load(cls.server.address, time.monotonic() + LOAD_SECONDS)

    @classmethod
    def start_prometheus(cls, folder):
        """The committed configuration, with this server as its target and seconds for quarters of a minute."""
        configuration = (PROMETHEUS / "prometheus.yml").read_text()
        for there, here in [("density-server:8000", cls.server.address), (": 15s", ": 1s")]:
            assert there in configuration
            configuration = configuration.replace(there, here)
        (folder / "prometheus.yml").write_text(configuration)
        for rules in ["records.yml", "alerts.yml"]:
            (folder / rules).write_text((PROMETHEUS / rules).read_text())
        cls.address = f"127.0.0.1:{free_port()}"
        prometheus = Program(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={cls.address}",
            ]
        )
        try:
            prometheus.wait_for(
                lambda: request(cls.address, "GET", "/-/ready").status == 200, 30, "Prometheus is ready"
            )
        except BaseException:
            prometheus.__exit__()
            raise
        return prometheus

    def api(self, path):
        answer = request(self.address, "GET", f"/api/v1/{path}")
        body = answer.json()
        self.assertEqual(body["status"], "success", body)
        return body["data"]

    def query(self, expression):
        return self.api(f"query?query={quote(expression)}")["result"]

    def test_the_server_is_scraped(self):
        self.assertEqual([series["value"][1] for series in self.query("up")], ["1"])

    def test_every_panel_has_data(self):
        panels = json.loads(DASHBOARD.read_text())["panels"]
        asked = 0
        for panel in panels:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                with self.subTest(panel=panel["title"], expression=expression):
                    self.assertNotIn("$", expression)
                    series = self.query(expression)
                    self.assertTrue(series, "no data")
                    values = [float(one["value"][1]) for one in series]
                    self.assertTrue(any(not math.isnan(value) for value in values), "nothing but NaN")
                    for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                        self.assertTrue(any(label in one["metric"] for one in series), f"no label {label}")
                    asked += 1
        print(f"{asked} queries of {len(panels)} panels")

    def test_variables_of_the_dashboard_have_values(self):
        for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
                self.assertTrue(any(label in series["metric"] for series in self.query(metric)), variable["name"])

    def test_every_rule_evaluates_and_every_record_has_data(self):
        for group in self.api("rules")["groups"]:
            for rule in group["rules"]:
                with self.subTest(rule=rule["name"]):
                    self.assertEqual(rule["health"], "ok", rule.get("lastError"))
                    if rule["type"] == "recording":
                        self.assertTrue(self.query(rule["name"]), "no data")

    def test_every_metric_that_an_alert_names_is_there(self):
        names = set(self.api("label/__name__/values"))
        for group in self.api("rules")["groups"]:
            for rule in group["rules"]:
                if rule["type"] == "alerting":
                    metrics = set(re.findall(r"\b(?:\w+:)?(?:density|process)_\w+(?::\w+)?|\bup\b", rule["query"]))
                    self.assertTrue(metrics, rule["query"])
                    with self.subTest(rule=rule["name"]):
                        self.assertLessEqual(metrics - WITH_TLS, names)

    def test_the_autoscaler_gets_a_wait_for_every_replica(self):
        adapter = (DOCKER / "kubernetes" / "monitored" / "prometheus-adapter.yaml").read_text()
        query = re.search(r"metricsQuery: \|-\n((?: {8}.*\n)+)", adapter)[1]
        query = query.replace("<<.GroupBy>>", "instance").replace("<<.LabelMatchers>>", 'job="density-server"')
        (series,) = self.query(query)
        self.assertGreater(float(series["value"][1]), 0)

    def test_overload_raises_its_alert(self):
        ratio = float(self.query("instance:density_overload:ratio_rate5m")[0]["value"][1])
        self.assertGreater(ratio, 0.05)
        states = {alert["labels"]["alertname"]: alert["state"] for alert in self.api("alerts")["alerts"]}
        # Firing takes five minutes, for which promtool need not wait.
        self.assertIn(states.get("DensityOverloaded"), ["pending", "firing"])


def load(address, until):
    """More than the queue takes: judged, scored, classified, drawn, and some that is wrong."""
    many = MANY_IMAGES.read_bytes()

    # Sent in the time of one image, and the work of many: clients that are slow beside the server overload it, too.
    def judge_many():
        path = "/v1/models/fashion-mnist-gate/detect"
        return request(address, "POST", path, many, {"content-type": "application/x-npy"})

    calls = [
        judge_many,
        lambda: post_image(address, "/v1/models/fashion-mnist-gate/detect", "shoe.png"),
        lambda: post_image(address, "/v1/models/fashion-mnist-pixelcnn/detect", "noise.png"),
        lambda: post_image(address, "/v1/models/fashion-mnist-pixelcnn/score", "pullover.png"),
        lambda: post_image(address, "/v1/models/fashion-mnist-vae/encode", "shoe.png"),
        lambda: post_image(address, "/v1/models/fashion-mnist-bayes/classify", "shoe.png"),
        lambda: request(address, "POST", "/v1/models/fashion-mnist-pixelcnn/sample?n=2"),
        lambda: post_image(address, "/v1/models/fashion-mnist-gan/score", "shoe.png"),
    ]

    def client(number):
        statuses = set()
        while time.monotonic() < until:
            for step in range(len(calls)):
                statuses.add(calls[(number + step) % len(calls)]().status)
        return statuses

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        statuses = set().union(*pool.map(client, range(CLIENTS)))
    assert {200, 422, 429} <= statuses, statuses
    assert max(statuses) < 500, statuses


if __name__ == "__main__":
    main()
