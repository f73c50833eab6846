"""What huggingface_hub and veval leave in a cache of the hub, and what each finds in the other's.

    ~/oracle-venv/bin/python tests/oracle/hub.py target/release/veval

A hub on the loopback interface serves two invented repositories. Both programs fetch them into caches of their own;
the layouts are compared, each reads the other's without a network, and each waits for the other's locks.
Writes `tests/fixtures/hub/layout.json`: the repositories, and the cache that huggingface_hub left of them.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

FIXTURE = Path(__file__).parent.parent / "fixtures/hub/layout.json"
COMMIT = {"models/veval/tiny": "1" * 40, "datasets/veval/rows": "2" * 40}
LARGE = 1000  # Bytes from which on a file is in large file storage.

# Invented, and text, so that the fixture can hold them.
REPOS = {
    "models/veval/tiny": {
        "config.json": '{"model_type": "llama"}\n',
        "model.safetensors": "0123456789" * 200,
        "tokenizer.json": '{"version": "1.0"}\n',
        "tokenizer_config.json": '{"bos_token": "<s>"}\n',
    },
    "datasets/veval/rows": {
        "data/test.jsonl": "".join(f'{{"question": "What is {n} + {n}?", "answer": {2 * n}}}\n' for n in range(50)),
        "data/dev.csv": "question,answer\nWhat is 1 + 1?,2\n",
        "note.txt": "",
    },
}
# What is fetched: address, repository, revision, file.
FILES = [
    ("hf://dataset/veval/rows@main/data/test.jsonl", "datasets/veval/rows", "main", "data/test.jsonl"),
    ("hf://dataset/veval/rows@refs/pr/1/data/dev.csv", "datasets/veval/rows", "refs/pr/1", "data/dev.csv"),
    (f"hf://dataset/veval/rows@{'2' * 40}/note.txt", "datasets/veval/rows", "2" * 40, "note.txt"),
]
ABSENT = ("hf://dataset/veval/rows@main/data/none.csv", "datasets/veval/rows", "main", "data/none.csv")
MODEL = "hf://model/veval/tiny@main"

slow = threading.Event()  # While set, contents take two seconds.


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag(content):
    return hashlib.sha256(content).hexdigest() if len(content) >= LARGE else git_sha1(content)


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            if slow.is_set() and self.path.startswith("/storage/"):
                self.wfile.write(body[:1000])
                self.wfile.flush()
                time.sleep(2)
                body = body[1000:]
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/storage/"):
            repo, file = path[len("/storage/") :].split("//")
            return self.reply(200, {}, REPOS[repo][file].encode())
        if path.startswith("/api/"):
            repo, what = path[len("/api/") :].split("/tree/" if "/tree/" in path else "/revision/")[0], path
            if "/revision/" in what:
                return self.json({"id": repo.split("/", 1)[1], "sha": COMMIT[repo], "siblings": []})
            return self.json([entry(name, text.encode()) for name, text in REPOS[repo].items()])
        repo, rest = path[1:].split("/resolve/")
        repo = repo if repo.startswith("datasets/") else f"models/{repo}"
        rest = rest.removeprefix("refs/pr/")
        file = rest.split("/", 1)[1]
        headers = {"X-Repo-Commit": COMMIT[repo]}
        if file not in REPOS[repo]:
            return self.reply(404, {**headers, "X-Error-Code": "EntryNotFound"})
        content = REPOS[repo][file].encode()
        if len(content) < LARGE:
            return self.reply(200, {**headers, "ETag": f'"{etag(content)}"'}, content)
        # Another host, as storage is: huggingface_hub looks at the name alone.
        headers |= {"X-Linked-Etag": f'"{etag(content)}"', "X-Linked-Size": str(len(content))}
        self.reply(302, {**headers, "Location": f"http://localhost:{self.server.server_port}/storage/{repo}//{file}"})

    def json(self, value):
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(value).encode())


def entry(name, content):
    found = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
    if len(content) >= LARGE:
        found["lfs"] = {"oid": etag(content), "size": len(content), "pointerSize": 134}
    return found


def layout(cache):
    """Every file of a cache: its text, or where it points to. Locks are compared by name."""
    found = {}
    for path in sorted(cache.rglob("*")):
        name = path.relative_to(cache).as_posix()
        if path.is_symlink():
            found[name] = {"link": os.readlink(path)}
        elif path.is_file():
            found[name] = {} if name.startswith(".locks/") else {"text": path.read_text()}
    return found


def veval(program, cache, *arguments, offline=False, **options):
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": str(int(offline))}
    command = [program, "data", "pull", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


def main(program):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scratch = Path(tempfile.mkdtemp())
    endpoint = f"http://127.0.0.1:{server.server_port}"
    os.environ |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(scratch / "home"), "HF_HUB_DISABLE_XET": "1",
                   "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        os.environ.pop(name, None)
    import huggingface_hub as hub
    from filelock import FileLock, Timeout
    from huggingface_hub.file_download import _CACHED_NO_EXIST
    from huggingface_hub.utils import EntryNotFoundError

    pythons, ours = scratch / "python", scratch / "veval"
    wanted = [address for address, *_ in FILES]

    def place(repo):
        kind, name = repo.split("/", 1)
        return {"repo_type": kind.removesuffix("s"), "repo_id": name}

    # Each fetches.
    for _, repo, revision, file in FILES:
        hub.hf_hub_download(**place(repo), filename=file, revision=revision, cache_dir=pythons)
    try:
        hub.hf_hub_download(**place(ABSENT[1]), filename=ABSENT[3], cache_dir=pythons)
        raise AssertionError("an absent file was found")
    except EntryNotFoundError:
        pass
    hub.snapshot_download(**place("models/veval/tiny"), cache_dir=pythons)
    done = veval(program, ours, *wanted, MODEL)
    assert done.returncode == 0, done.stderr
    absent = veval(program, ours, ABSENT[0])
    assert absent.returncode == 2 and "expected the file data/none.csv" in absent.stderr, absent.stderr

    # The layouts are the same, but for a mark for backups and the listings of trees.
    left = layout(pythons)
    shared = {name: what for name, what in left.items() if name != "CACHEDIR.TAG" and "/trees/" not in name}
    assert layout(ours) == shared, json.dumps([layout(ours), shared], indent=1)

    # Each reads the other's without a network.
    back = veval(program, pythons, *wanted, MODEL, offline=True)
    assert back.returncode == 0, back.stderr
    assert [Path(line).relative_to(pythons) for line in back.stdout.split("\n")[:-1]] == [
        Path(line).relative_to(ours) for line in done.stdout.split("\n")[:-1]
    ], back.stdout
    for address, repo, revision, file in FILES:
        found = hub.try_to_load_from_cache(**place(repo), filename=file, revision=revision, cache_dir=ours)
        assert Path(found).read_text() == REPOS[repo][file], address
    assert hub.try_to_load_from_cache(**place(ABSENT[1]), filename=ABSENT[3], cache_dir=ours) is _CACHED_NO_EXIST
    folder = hub.snapshot_download(**place("models/veval/tiny"), cache_dir=ours, local_files_only=True)
    for file, text in REPOS["models/veval/tiny"].items():
        assert (Path(folder) / file).read_text() == text, file
    scan = hub.scan_cache_dir(ours)
    assert not scan.warnings and len(scan.repos) == 2, scan

    # Each waits for the other.
    address, repo, _, file = FILES[0]
    content = REPOS[repo][file].encode()
    lock = Path(".locks/datasets--veval--rows") / f"{etag(content)}.lock"
    third = scratch / "third"
    (third / lock).parent.mkdir(parents=True)
    with FileLock(third / lock):
        try:
            veval(program, third, address, timeout=1)
            raise AssertionError("veval did not wait for huggingface_hub's lock")
        except subprocess.TimeoutExpired:
            pass
    slow.set()
    environment = {**os.environ, "HF_HUB_CACHE": str(third)}
    busy = subprocess.Popen([program, "data", "pull", address], env=environment, stdout=subprocess.PIPE)
    while not (third / "datasets--veval--rows/blobs" / f"{etag(content)}.incomplete").exists():
        assert busy.poll() is None
        time.sleep(0.01)
    try:
        FileLock(third / lock).acquire(timeout=0.1)
        raise AssertionError("huggingface_hub's lock was free while veval had it")
    except Timeout:
        pass
    assert busy.wait() == 0
    FileLock(third / lock).acquire(timeout=0.1)

    FIXTURE.parent.mkdir(exist_ok=True)
    left = {name: what for name, what in left.items() if not name.startswith(".locks/")}
    record = {"huggingface_hub": hub.__version__, "repos": REPOS, "commits": COMMIT, "cache": left}
    FIXTURE.write_text(json.dumps(record, indent=1) + "\n")
    print(f"huggingface_hub {hub.__version__}: the caches are the same ({len(shared)} files)")


if __name__ == "__main__":
    main(sys.argv[1])
