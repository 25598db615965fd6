"""docker/Dockerfile, built by buildah and run as a hardened engine would: no root, no capabilities, nothing writable.

`buildah run` gives the image's own user, environment and entry point. It cannot make the root read-only, so the server
runs in a mount namespace made here: the image's tree read-only, /tmp in memory, all privileges dropped.
"""

import json
import os
import subprocess
import unittest
from pathlib import Path

from support import DOCKER, ROOT, Server, clean_environment, main, post_image, request

STORAGE = ROOT / "target" / "image"
BUILDAH = ["buildah", "--root", STORAGE / "images", "--runroot", STORAGE / "run", "--storage-driver", "vfs"]
REPOSITORY = ROOT / "models" / "repository"
MOST_MEGABYTES = 120

# What an engine does between the image and its program, with --read-only, --tmpfs /tmp, --cap-drop ALL and
# no-new-privileges: ROOT MODELS PROGRAM ARGUMENT…
HARDENED = """
set -e
root=$1 models=$2
shift 2
mkdir -p "$root/proc" "$root/sys"
mount --bind "$root" "$root"
mount --bind /proc "$root/proc"
mount --bind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
[ -z "$models" ] || mount --bind --options ro "$models" "$root/models"
[ -n "$models" ] || mount -t tmpfs -o uid=65532,gid=65532 tmpfs "$root/models/.drift"
mount --options remount,bind,ro "$root"
exec setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all --no-new-privs \\
    chroot --userspec=65532:65532 --groups= "$root" "$@"
"""


def buildah(*arguments):
    """What a command of buildah prints."""
    return subprocess.run([*BUILDAH, *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Image:
    """An image and a container of it, whose tree is mounted at `root`."""

    def __init__(self, tag, *arguments):
        subprocess.run([DOCKER / "tests" / "build-image", STORAGE, tag, *arguments], check=True)
        self.configuration = json.loads(buildah("inspect", "--type", "image", tag))["Docker"]["config"]
        self.container = buildah("from", "--pull-never", tag)
        self.root = Path(buildah("mount", self.container))

    def remove(self):
        buildah("rm", self.container)

    def hardened(self, *program, models=""):
        """The command line of a program of the image, run as HARDENED says."""
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", HARDENED, "sh",
                str(self.root), str(models), *program]  # fmt: skip

    def environment(self, **more):
        """The image's environment, and more."""
        own = dict(setting.split("=", 1) for setting in self.configuration["Env"])
        return {**clean_environment(), **own, **more}


class Dockerfile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mounted = Image("density-server")
        cls.addClassCleanup(cls.mounted.remove)
        cls.included = Image("density-server-with-models", "--build-arg", "MODELS=models/repository")
        cls.addClassCleanup(cls.included.remove)

    def serve(self, image, models=""):
        """The server of an image on a free port, with the image's own command."""
        self.assertEqual(image.configuration["Cmd"], ["serve"])
        program = image.hardened(*image.configuration["Entrypoint"], models=models)
        return Server(command=program, environment=image.environment())

    def test_it_is_small_and_holds_nothing_that_can_be_run_but_the_server(self):
        files = [path for path in self.mounted.root.rglob("*") if path.is_file() and not path.is_symlink()]
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        print(f"image without models: {megabytes:.1f} MB in {len(files)} files")
        self.assertLessEqual(megabytes, MOST_MEGABYTES)
        programs = {path.name for path in files if os.access(path, os.X_OK) and ".so" not in path.name}
        self.assertEqual(programs, {"density-server"})
        own = {path for path in self.mounted.root.rglob("*") if path.stat().st_uid != 0}
        self.assertEqual(own, {self.mounted.root / "models" / ".drift"})

    def test_it_says_how_it_is_to_be_run(self):
        configuration = self.mounted.configuration
        self.assertEqual(configuration["User"], "65532:65532")
        self.assertEqual(configuration["Healthcheck"]["Test"], ["CMD", "/usr/bin/density-server", "health"])
        self.assertIn("8000/tcp", configuration["ExposedPorts"])

    def test_models_of_a_volume_are_served_without_root_and_without_a_writable_file(self):
        # In the image no record of proofs can be kept.
        outside = Server("--proof-records", "none")
        outside.__exit__()
        with self.serve(self.mounted, REPOSITORY) as server:
            answer = post_image(server.address, "/v1/models/fashion-mnist-gate/detect", "noise.png")
            self.assertEqual(answer.json()["results"][0]["decision"], "reject", answer.body)
            status = Path(f"/proc/{server.process.pid}/status").read_text()
            self.assertIn("\nUid:\t65532\t65532\t65532\t65532\n", status)
            for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"]:
                self.assertIn(f"\n{capabilities}:\t0000000000000000\n", status)
            self.assertIn("\nNoNewPrivs:\t1\n", status)
            server.process.terminate()
            self.assertEqual(server.process.wait(60), 0, server.log())
        print(f"ready after {server.start_seconds:.1f} s in the image, {outside.start_seconds:.1f} s outside")

    def test_models_inside_are_served_and_drift_is_kept_in_its_volume(self):
        with self.serve(self.included) as server:
            answer = post_image(server.address, "/v1/models/fashion-mnist-gate/detect", "shoe.png")
            self.assertEqual(answer.json()["results"][0]["decision"], "accept", answer.body)
            drift = request(server.address, "GET", "/v1/models/fashion-mnist-gate/drift").json()
            self.assertTrue(drift["kept"], drift)

    def test_its_health_check_tells_ready_from_gone(self):
        check = self.included.hardened(*self.included.configuration["Healthcheck"]["Test"][1:])
        with self.serve(self.included) as server:
            environment = self.included.environment(DENSITY_HTTP=server.address)
            done = subprocess.run(check, check=False, env=environment, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
        done = subprocess.run(check, check=False, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)

    def test_buildah_runs_it_as_its_user_with_its_environment(self):
        arguments = ["run", "--isolation", "chroot", self.included.container, "--"]
        said = buildah(*arguments, "/usr/bin/density-server", "check", "fashion-mnist-pixelcnn")
        self.assertIn("golden scores", said)


if __name__ == "__main__":
    main()
