"""The wheel in a fresh virtual environment, without Rust and away from the checkout: it installs, and it serves."""

import subprocess
import tempfile
import unittest
import venv
import zipfile
from pathlib import Path

from support import IMAGES, ROOT, START_SECONDS, Server, main, post_image

WHEELS = ROOT / "target" / "wheels"


class Wheel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        (cls.wheel,) = WHEELS.glob("density_server-*.whl")

    def test_it_holds_the_binary_and_its_licences_and_nothing_else(self):
        names = zipfile.ZipFile(self.wheel).namelist()
        programs = [name for name in names if ".dist-info/" not in name and ".data/scripts/" in name]
        self.assertEqual([Path(name).name for name in programs], ["density-server"])
        self.assertEqual([name for name in names if ".dist-info/" not in name and name not in programs], [])
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"]:
            self.assertTrue(any(name.endswith(licence) for name in names), licence)

    def test_it_installs_and_serves_without_anything_of_the_checkout(self):
        with tempfile.TemporaryDirectory() as folder:
            environment = Path(folder) / "environment"
            venv.create(environment, with_pip=True)
            pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, self.wheel], check=True, timeout=START_SECONDS)
            program = environment / "bin" / "density-server"
            bare = {"PATH": "/usr/bin:/bin", "HOME": folder}
            said = subprocess.run(
                [program, "--version"],
                check=True,
                capture_output=True,
                text=True,
                env=bare,
                cwd=folder,
                timeout=START_SECONDS,
            )
            self.assertIn("density-server", said.stdout)
            repository = str(ROOT / "models" / "repository")
            arguments = ("--repository", repository)
            with Server(*arguments, command=(str(program),), cwd=folder) as server:
                answer = post_image(server.address, "/v1/models/fashion-mnist-gate/detect", "shoe.png")
                self.assertEqual(answer.status, 200, answer.body)
                self.assertEqual(answer.json()["results"][0]["decision"], "accept")
                library = next(environment.glob("lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.*"))
                # Only Linux tells which library it is.
                if (maps := Path(f"/proc/{server.process.pid}/maps")).exists():
                    self.assertIn(str(library), maps.read_text())
            print(f"{self.wheel.name}: {self.wheel.stat().st_size / 1e6:.1f} MB")
            score = [program, "score", "--repository", repository, "fashion-mnist-pixelcnn", IMAGES / "shoe.png"]
            subprocess.run(score, check=True, env=bare, cwd=folder, stdout=subprocess.DEVNULL, timeout=START_SECONDS)


if __name__ == "__main__":
    main()
