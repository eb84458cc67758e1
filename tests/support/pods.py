"""Admission reviews of Pods as an API server sends them: what tests decide about and benchmarks measure with.

A Deployment's Pod as its ReplicaSet's controller creates it (about 10 KB as JSON), and the same Pod when the kubelet
has filled in its status (about 20 KB, since an update brings the old object too).
"""

import copy
import json
from typing import Any

MEMBERS = ("web", "proxy")


def create(name: str = "web-7d4b9c6f58-x2x7k", namespace: str = "shop", uid: str | None = None) -> dict[str, Any]:
    """The AdmissionReview of a Pod's creation."""
    return _review("CREATE", _pod(name, namespace), None, uid or "0b6b1a9e-5f0e-4f4f-9a54-6c7c1d1f2a01")


def update(name: str = "web-7d4b9c6f58-x2x7k", namespace: str = "shop", uid: str | None = None) -> dict[str, Any]:
    """The AdmissionReview of a label's change on a running Pod."""
    old = _running(_pod(name, namespace))
    new = copy.deepcopy(old)
    new["metadata"]["labels"]["shop.example/tier"] = "gold"
    new["metadata"]["resourceVersion"] = "48213"
    return _review("UPDATE", new, old, uid or "0b6b1a9e-5f0e-4f4f-9a54-6c7c1d1f2a02")


def encode(review: dict[str, Any]) -> bytes:
    """A review as JSON without white space, as the API server writes it."""
    return json.dumps(review, separators=(",", ":")).encode()


def _review(operation: str, new: dict[str, Any], old: dict[str, Any] | None, uid: str) -> dict[str, Any]:
    pods = {"group": "", "version": "v1", "resource": "pods"}
    pod = {"group": "", "version": "v1", "kind": "Pod"}
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": pod,
            "resource": pods,
            "requestKind": pod,
            "requestResource": pods,
            "name": new["metadata"]["name"],
            "namespace": new["metadata"]["namespace"],
            "operation": operation,
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "2f0a7b2f-93f1-4b6c-8b52-0b1c7f5f7f11",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": ["JTI=6f4c3c6e-9ae9-4c7e-b1c9-b4f7a2b6a001"]},
            },
            "object": new,
            "oldObject": old,
            "dryRun": False,
            "options": {"kind": f"{operation.title()}Options", "apiVersion": "meta.k8s.io/v1"},
        },
    }


def _pod(name: str, namespace: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "generateName": "web-7d4b9c6f58-",
            "namespace": namespace,
            "uid": "5a3f4a35-0f9b-41a2-8f0e-4cf6f4f1d777",
            "creationTimestamp": "2026-03-01T09:30:00Z",
            "labels": {
                "app.kubernetes.io/name": "web",
                "app.kubernetes.io/part-of": "shop",
                "app.kubernetes.io/version": "4.11.2",
                "pod-template-hash": "7d4b9c6f58",
            },
            "annotations": {
                "prometheus.io/port": "9090",
                "prometheus.io/scrape": "true",
                "shop.example/configuration": "sha256:5f2c7d86b0d0a1c19c1f7a1b2d5c6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f",
            },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "web-7d4b9c6f58",
                    "uid": "e3b2a9d0-94ad-4b2c-92e4-2a0a5b8b1c33",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [_managed_by_controller()],
        },
        "spec": _spec(),
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def _spec() -> dict[str, Any]:
    return {
        "volumes": [
            {"name": "configuration", "configMap": {"name": "web-configuration", "defaultMode": 420}},
            {"name": "credentials", "secret": {"secretName": "web-credentials", "defaultMode": 288}},
            {"name": "cache", "emptyDir": {"sizeLimit": "512Mi"}},
            {"name": "kube-api-access-9tq2m", "projected": {"sources": _token_sources(), "defaultMode": 420}},
        ],
        "initContainers": [_migration()],
        "containers": [_container(member, 8080 + index) for index, member in enumerate(MEMBERS)],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "serviceAccountName": "web",
        "serviceAccount": "web",
        "securityContext": {
            "runAsUser": 10001,
            "runAsNonRoot": True,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {
                            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "web"}},
                            "topologyKey": "topology.kubernetes.io/zone",
                        },
                    }
                ]
            }
        },
        "schedulerName": "default-scheduler",
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{taint}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for taint in ("not-ready", "unreachable")
        ],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "web"}},
            }
        ],
    }


def _container(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "image": f"registry.shop.example/{name}:4.11.2",
        "args": ["--listen", f":{port}", "--configuration=/etc/web/configuration.yaml", "--log-format=json"],
        "ports": [
            {"name": "http", "containerPort": port, "protocol": "TCP"},
            {"name": "metrics", "containerPort": port + 1000, "protocol": "TCP"},
        ],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "web-credentials", "key": "database"}}},
            {"name": "GOMEMLIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "0"}}},
            {"name": "OTEL_SERVICE_NAME", "value": name},
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability.svc:4317"},
        ],
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": _mounts(),
        "livenessProbe": _probe("/healthz", failures=3),
        "readinessProbe": _probe("/readyz", failures=1),
        "startupProbe": _probe("/healthz", failures=30),
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", "5"]}}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": _hardened(),
    }


def _migration() -> dict[str, Any]:
    return {
        "name": "migrate",
        "image": "registry.shop.example/migrate:4.11.2",
        "command": ["/migrate"],
        "args": ["--to", "latest"],
        "env": [
            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "web-credentials", "key": "database"}}}
        ],
        "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}},
        "volumeMounts": _mounts(),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": _hardened(),
    }


def _mounts() -> list[dict[str, Any]]:
    return [
        {"name": "configuration", "readOnly": True, "mountPath": "/etc/web"},
        {"name": "credentials", "readOnly": True, "mountPath": "/var/run/credentials"},
        {"name": "cache", "mountPath": "/var/cache/web"},
        {
            "name": "kube-api-access-9tq2m",
            "readOnly": True,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        },
    ]


def _probe(path: str, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "initialDelaySeconds": 5,
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": failures,
    }


def _hardened() -> dict[str, Any]:
    return {
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
    }


def _token_sources() -> list[dict[str, Any]]:
    return [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ]


def _managed_by_controller() -> dict[str, Any]:
    container = {
        ".": {},
        "f:args": {},
        "f:env": {
            ".": {},
            **{
                f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}, "f:valueFrom": {}}
                for name in ("DATABASE_URL", "GOMEMLIMIT", "POD_IP", "POD_NAME")
            },
        },
        "f:image": {},
        "f:imagePullPolicy": {},
        "f:livenessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {}, "f:periodSeconds": {}},
        "f:name": {},
        "f:ports": {".": {}, 'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
        "f:readinessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {}, "f:periodSeconds": {}},
        "f:resources": {".": {}, "f:limits": {}, "f:requests": {}},
        "f:securityContext": {".": {}, "f:capabilities": {}, "f:runAsNonRoot": {}},
        "f:terminationMessagePath": {},
        "f:volumeMounts": {".": {}, 'k:{"mountPath":"/etc/web"}': {".": {}, "f:mountPath": {}, "f:readOnly": {}}},
    }
    return {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-03-01T09:30:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:annotations": {".": {}, "f:prometheus.io/port": {}, "f:prometheus.io/scrape": {}},
                "f:generateName": {},
                "f:labels": {".": {}, "f:app.kubernetes.io/name": {}, "f:pod-template-hash": {}},
                "f:ownerReferences": {".": {}, 'k:{"uid":"e3b2a9d0-94ad-4b2c-92e4-2a0a5b8b1c33"}': {}},
            },
            "f:spec": {
                "f:affinity": {},
                "f:containers": {f'k:{{"name":"{member}"}}': container for member in MEMBERS},
                "f:dnsPolicy": {},
                "f:initContainers": {".": {}, 'k:{"name":"migrate"}': {".": {}, "f:image": {}, "f:name": {}}},
                "f:restartPolicy": {},
                "f:schedulerName": {},
                "f:securityContext": {},
                "f:volumes": {".": {}, 'k:{"name":"cache"}': {".": {}, "f:emptyDir": {}, "f:name": {}}},
            },
        },
    }


def _running(pod: dict[str, Any]) -> dict[str, Any]:
    return {
        **pod,
        "metadata": {**pod["metadata"], "resourceVersion": "48102"},
        "spec": {**pod["spec"], "nodeName": "worker-3"},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-03-01T09:30:09Z"}
                for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": "192.0.2.13",
            "podIP": "10.244.3.17",
            "podIPs": [{"ip": "10.244.3.17"}],
            "startTime": "2026-03-01T09:30:00Z",
            "containerStatuses": [
                {
                    "name": member,
                    "state": {"running": {"startedAt": "2026-03-01T09:30:07Z"}},
                    "ready": True,
                    "restartCount": 0,
                    "image": f"registry.shop.example/{member}:4.11.2",
                    "started": True,
                }
                for member in MEMBERS
            ],
            "qosClass": "Burstable",
        },
    }
