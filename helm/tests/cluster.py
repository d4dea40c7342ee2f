"""What an API server says: plain HTTPS calls with server-side apply, as a GitOps tool makes them. Used by apiserver.py.

What must stay true: every call validates strictly, so that an unknown field is refused; a refusal is an error with the server's own
words; a warning is kept, never lost.
"""

import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from chart import label

PATIENCE_SECONDS = 60  # for a new kind to be served


class Refused(Exception):
    """The server refused a call: its code, and its words."""

    def __init__(self, code, says):
        super().__init__(f"{code}: {says}")
        self.code, self.says = code, says


class Cluster:
    def __init__(self, kubeconfig=None):
        config = yaml.safe_load(open(kubeconfig or os.environ["KUBECONFIG"]))
        server = config["clusters"][0]["cluster"]
        self.address, self.token = server["server"], config["users"][0]["user"]["token"]
        self.context = ssl.create_default_context(cafile=server["certificate-authority"])
        self.warnings, self.resources = [], {}

    def call(self, method, path, body=None, kind="application/json", **query):
        address = f"{self.address}{path}?{urllib.parse.urlencode(query)}"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=PATIENCE_SECONDS) as answer:
                self.warnings += answer.headers.get_all("Warning") or []
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, _message(error.read().decode())) from None

    def apply(self, item, dry_run=False, manager="gitops"):
        """Server-side apply: makes the object, or makes it what is given."""
        return self.call("PATCH", self.path(item), item, "application/apply-patch+yaml", fieldManager=manager, **_strict(dry_run))

    def create(self, item, dry_run=False):
        return self.call("POST", self.path(item, name=False), item, **_strict(dry_run))

    def scale(self, item, replicas, manager):
        """What an autoscaler, or `kubectl scale`, does."""
        body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {}, "spec": {"replicas": replicas}}
        path = f"{self.path(item)}/scale"
        self.call("PATCH", path, body, "application/merge-patch+json", fieldManager=manager)

    def get(self, item):
        try:
            return self.call("GET", self.path(item))
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def delete(self, item):
        """Whatever is there, at once: no controller would ever tidy up behind it."""
        try:
            self.call("DELETE", self.path(item), propagationPolicy="Background", gracePeriodSeconds=0)
        except Refused as refused:
            if refused.code != 404:
                raise

    def all_of(self, kind, namespace):
        """Every object of a kind (apiVersion, kind) in a namespace."""
        api, name = kind
        one = {"apiVersion": api, "kind": name, "metadata": {"namespace": namespace}}
        return [{"apiVersion": api, "kind": name, **item} for item in self.call("GET", self.path(one, name=False))["items"]]

    def path(self, item, name=True):
        api, metadata = item["apiVersion"], item["metadata"]
        resource = self._resource(api, item["kind"])
        parts = ["/apis" if "/" in api else "/api", api]
        if resource["namespaced"]:
            parts += ["namespaces", metadata["namespace"]]
        return "/".join(parts + [resource["name"]] + ([metadata["name"]] if name else []))

    def _resource(self, api, kind):
        found = self.resources.get((api, kind)) or self._discover(api, kind)
        if not found:
            raise Refused(404, f"no kind {kind} in {api}")
        return found

    def _discover(self, api, kind):
        listed = self.call("GET", f"{'/apis' if '/' in api else '/api'}/{api}")["resources"]
        for resource in listed:
            if "/" not in resource["name"]:
                self.resources[api, resource["kind"]] = resource
        return self.resources.get((api, kind))

    def define(self, crd):
        """Installs a custom resource's definition, and waits until it is served."""
        self.create(crd)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._serves(crd):
            if time.monotonic() > deadline:
                raise SystemExit(f"apiserver: {label(crd)} is not served after {PATIENCE_SECONDS} s")
            time.sleep(0.1)

    def _serves(self, crd):
        """Whether every version can be listed: the server says that a kind is established before it has a place for it."""
        spec = crd["spec"]
        try:
            for version in spec["versions"]:
                if version["served"]:
                    self.all_of((f"{spec['group']}/{version['name']}", spec["names"]["kind"]), "default")
        except Refused as refused:
            if refused.code in (404, 429, 503):
                return False
            raise
        return True


def _message(body):
    """What an answer says: nearly all are an object with a message, the rest a text."""
    try:
        return json.loads(body)["message"]
    except (ValueError, TypeError, KeyError):
        return body.strip()


def _strict(dry_run):
    return {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}


def content(item):
    """What was asked for, without what the server writes into each object: when, how often, by whom, and its random id."""
    kept = {key: value for key, value in item.items() if key != "status"}
    written = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")
    kept["metadata"] = {key: value for key, value in item["metadata"].items() if key not in written}
    return json.loads(json.dumps(kept).replace(item["metadata"]["uid"], "uid"))
