"""Load a SavedModel as Python users do, and read the held-out digits with it. Run in a toolchain's Python:

tensorflow_loader.py SAVED_MODEL DIGITS.npz  ->  {"accuracy": 0.97, "signatures": ["serving_default"]}
"""

import json
import sys

import numpy as np
import tensorflow as tf

digits = np.load(sys.argv[2])
loaded = tf.saved_model.load(sys.argv[1], tags=["serve"])
scores = loaded.signatures["serving_default"](images=tf.constant(digits["test_images"]))["scores"].numpy()
assert scores.shape == (len(digits["test_labels"]), 10), scores.shape
right = float((scores.argmax(axis=1) == digits["test_labels"]).mean())
print(json.dumps({"accuracy": right, "signatures": sorted(loaded.signatures)}))
