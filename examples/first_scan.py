# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first scan
#
# This notebook scans a small infected network that ships with nc_tf, shows the reversed trigger and unlearns it.
# `jupytext --to notebook examples/first_scan.py` makes a notebook of it.

# %%
import matplotlib.pyplot as plt
import numpy as np

import nc_tf
from nc_tf.datasets.rendered import signs
from nc_tf.demo import shipped_model

# %% [markdown]
# ## Model and images
#
# The model classifies 43 traffic signs. The images are rendered: raw pixels in [0, 255] with their true classes.

# %%
model = nc_tf.load_model(shipped_model("signs_infected.keras"))
x, y = signs.render(800, seed=1)
print(x.shape, model.output_shape)

# %% [markdown]
# ## Scan
#
# Six labels are enough here, one restart each. A scan of all labels leaves `targets` and `starts` out.

# %%
result = nc_tf.scan(model, x, y, targets=[33, 0, 1, 2, 3, 4], starts=1)
print(f"{result.verdict}: {result.reason}")

# %%
norms = {entry.label: entry.trigger.l1_norm for entry in result.labels}
figure, axes = plt.subplots(figsize=(6, 2.5))
axes.bar([str(label) for label in norms], list(norms.values()))
axes.axhline(result.flagging_norm, color="0.4", linestyle=":")
axes.set_xlabel("label")
_ = axes.set_ylabel("norm, pixels")

# %% [markdown]
# ## The trigger
#
# A trigger can be applied to any images of the same shape.

# %%
smallest = min(result.labels, key=lambda entry: entry.trigger.l1_norm)
stamped = smallest.trigger(x[:4].astype(np.float32))
figure, axes = plt.subplots(2, 4, figsize=(6, 3))
for column in range(4):
    axes[0, column].imshow(x[column])
    axes[1, column].imshow(stamped[column].astype(np.uint8))
for place in axes.flat:
    place.axis("off")

# %% [markdown]
# ## Unlearn
#
# A share of the images carries the trigger and keeps its true label. The network learns to ignore the trigger.

# %%
repaired = nc_tf.unlearn(model, x[200:], y[200:], [smallest.trigger], test=(x[:200], y[:200]), fraction=1.0, epochs=2, verbose=0)
print(repaired.before.attack_success_rate, repaired.after.attack_success_rate)

# %%
assert smallest.label == 33  # noqa: S101  # the planted label
assert repaired.after.attack_success_rate["reversed"] < 0.2 < repaired.before.attack_success_rate["reversed"]  # noqa: S101
