"""The manifests of docker/kubernetes, as Kustomize renders them, against the schemas of what they will be given to.

Kubernetes' own kinds: the schemas of its release (kubernetes-validate, strict). ServiceMonitor: the schema of the
Prometheus operator (npm's @kubernetes-models/prometheus-operator). KServe's kinds: the models of KServe's SDK, which
name every field and its type but neither ranges nor patterns.
"""

import importlib
import json
import re
import subprocess
import sys
import types
import unittest

from support import DOCKER, ROOT, main

TOOLS = ROOT / ".runtime" / "manifests"
NODE = TOOLS / "node"
sys.path.insert(0, str(TOOLS))

import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

KUBERNETES = "1.37"
KSERVE_KINDS = {
    "ClusterServingRuntime": "V1alpha1ClusterServingRuntime",
    "InferenceService": "V1beta1InferenceService",
}
VALIDATE_SERVICE_MONITOR = """
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { readFileSync } from "node:fs";
const manifest = JSON.parse(readFileSync(0));
new ServiceMonitor(manifest).validate();
"""


def render(folder):
    """The manifests of docker/kubernetes/`folder`."""
    command = [TOOLS / "bin" / "kubectl", "kustomize", DOCKER / "kubernetes" / folder]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def only(manifests, kind):
    """The one manifest of this kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def service_monitor_problem(manifest):
    """What the operator's schema says against a manifest, or nothing."""
    command = ["node", "--input-type=module", "-e", VALIDATE_SERVICE_MONITOR]
    done = subprocess.run(command, check=False, input=json.dumps(manifest), text=True, capture_output=True, cwd=NODE)
    return done.stderr if done.returncode else ""


def kserve_models():
    """The models of KServe's SDK and those of Kubernetes' client that they name, without all that KServe imports."""
    package = types.ModuleType("kserve")
    package.__path__ = [str(TOOLS / "kserve")]
    sys.modules["kserve"] = package
    models = types.ModuleType("kserve.models")
    models.__path__ = [str(TOOLS / "kserve" / "models")]
    sys.modules["kserve.models"] = models
    return models


def kserve_model(name):
    """A class by the name that a type annotation of the SDK gives it."""
    client = importlib.import_module("kubernetes.client")
    if hasattr(client, name):
        return getattr(client, name)
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    return getattr(importlib.import_module(f"kserve.models.{module}"), name)


def check_type(value, kind, path):
    """Fails where `value` is not of the SDK's type `kind`, or has a field that the type does not know."""
    if found := re.fullmatch(r"[lL]ist\[(.*)\]", kind):
        assert isinstance(value, list), f"{path}: a list is wanted"
        for index, element in enumerate(value):
            check_type(element, found[1], f"{path}[{index}]")
    elif found := re.fullmatch(r"[dD]ict[(\[]str, (.*)[)\]]", kind):
        assert isinstance(value, dict), f"{path}: a map is wanted"
        for key, element in value.items():
            check_type(element, found[1], f"{path}.{key}")
    elif kind in ("str", "bool", "int", "float"):
        wanted = {"str": str, "bool": bool, "int": int, "float": (int, float)}[kind]
        assert isinstance(value, wanted), f"{path}: {kind} is wanted"
    elif kind not in ("object", "datetime", "Quantity", "ResourceQuantity"):
        model = kserve_model(kind)
        assert isinstance(value, dict), f"{path}: a {kind} is wanted"
        names = {name: attribute for attribute, name in model.attribute_map.items()}
        for name, element in value.items():
            assert name in names, f"{path}: {kind} has no field {name}"
            check_type(element, model.openapi_types[names[name]], f"{path}.{name}")


class Manifests(unittest.TestCase):
    def test_kinds_of_kubernetes_keep_its_schemas(self):
        for folder in ["base", "monitored"]:
            for manifest in render(folder):
                if manifest["kind"] != "ServiceMonitor":
                    with self.subTest(folder=folder, kind=manifest["kind"]):
                        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)

    def test_the_schemas_see_a_wrong_field(self):
        deployment = only(render("base"), "Deployment")
        deployment["spec"]["template"]["spec"]["containers"][0]["readonlyRootFilesystem"] = True
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, KUBERNETES, strict=True)

    def test_the_service_monitor_keeps_the_schema_of_its_operator(self):
        manifest = only(render("monitored"), "ServiceMonitor")
        self.assertEqual(service_monitor_problem(manifest), "")
        manifest["spec"]["endpoints"][0]["interval"] = "soon"
        self.assertIn("interval", service_monitor_problem(manifest))

    def test_kinds_of_kserve_have_the_fields_of_its_sdk(self):
        kserve_models()
        manifests = render("kserve")
        self.assertEqual({manifest["kind"] for manifest in manifests}, set(KSERVE_KINDS))
        for manifest in manifests:
            check_type(manifest, KSERVE_KINDS[manifest["kind"]], manifest["kind"])
        runtime = only(manifests, "ClusterServingRuntime")
        runtime["spec"]["containers"][0]["readyProbe"] = {}
        with self.assertRaisesRegex(AssertionError, "no field readyProbe"):
            check_type(runtime, KSERVE_KINDS["ClusterServingRuntime"], "ClusterServingRuntime")

    def test_what_selects_replicas_selects_those_of_the_deployment(self):
        manifests = render("monitored")
        labels = only(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
        selectors = [
            only(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
            only(manifests, "Service")["spec"]["selector"],
            only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
            only(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
            only(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"],
        ]
        for selector in selectors:
            self.assertTrue(selector)
            self.assertLessEqual(selector.items(), labels.items())

    def test_the_autoscaler_asks_for_the_metric_that_the_adapter_makes(self):
        metric = only(render("monitored"), "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"]["name"]
        adapter = yaml.safe_load((DOCKER / "kubernetes" / "monitored" / "prometheus-adapter.yaml").read_text())
        self.assertEqual([rule["name"]["as"] for rule in adapter["rules"]["custom"]], [metric])


if __name__ == "__main__":
    main()
