"""What pip needs to know about kgraft; constraints.txt has the versions known to work together."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"', (ROOT / "kgraft" / "__init__.py").read_text("utf-8"), re.MULTILINE
)

setuptools.setup(
    name="kgraft",
    version=VERSION.group(1),
    description="Few-shot knowledge distillation by network grafting, to verified TFLite files",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "kgraft/data/embedded/*LICENSE*"],
    python_requires=">=3.10",
    packages=setuptools.find_packages(include=["kgraft", "kgraft.*"]),
    package_data={"kgraft": ["py.typed", "data/embedded/*", "zoo/embedded/*"]},
    zip_safe=False,
    install_requires=[
        "absl-py>=1.4,<3",
        "ai-edge-litert>=2.1,<3",  # runs the exported files; tensorflow no longer brings it
        "flatbuffers>=24",  # writes the metadata of exported files; tensorflow brings it
        "grpcio>=1.60",  # how Keras Tuner's chief and workers talk; it brings it
        "h5py>=3.11",
        "importlib_resources>=6",  # TFDS needs it to write data and does not declare it
        "keras>=3.12,<4",
        "keras-tuner>=1.4.7,<2",
        "matplotlib>=3.9,<4",  # the pictures of kgraft-compare and kgraft-tune
        "numpy>=1.26",
        "pillow>=11",  # reads what TensorFlow does not: BMP with a colour table, WebP, TIFF
        "scikit-learn>=1.5,<2",  # Keras Tuner's BayesianOptimization needs it undeclared
        "scipy>=1.13,<2",
        "tensorboard>=2.20,<3",  # Keras Tuner needs it; tensorflow 2.21 no longer brings it
        "tensorflow>=2.21,<3",
        "tensorflow-datasets>=4.9.9,<5",
        "tensorflow-model-optimization>=0.8,<1",
        "tf_keras>=2.21,<3",  # the Keras 2 that tensorflow-model-optimization works on
    ],
    extras_require={
        "benchmarks": ["torch>=2.4"],
        "edge": ["ai-edge-quantizer>=0.10,<1"],  # the formats aeq_int8, aeq_int4 and aeq_mixed
        "onnx": ["onnx>=1.17,<2", "onnxruntime>=1.20,<2", "tf2onnx>=1.17,<2"],  # the format onnx
        "test": [
            "ai-edge-quantizer>=0.10,<1",
            "hypothesis>=6",
            "mypy>=1.11",
            "onnx>=1.17,<2",
            "onnxruntime>=1.20,<2",
            "pytest>=8",
            "pytest-xdist>=3",
            "ruff>=0.9",
            "tf2onnx>=1.17,<2",
        ],
    },
    entry_points={
        "console_scripts": [
            "kgraft-benchmark = kgraft.cli.benchmark:main",
            "kgraft-compare = kgraft.cli.compare:main",
            "kgraft-distill = kgraft.cli.distill:main",
            "kgraft-export = kgraft.cli.export:main",
            "kgraft-teach = kgraft.cli.teach:main",
            "kgraft-tune = kgraft.cli.tune:main",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
