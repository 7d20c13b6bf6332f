"""Loads a model whole into the GPU and generates: llama_generate.py MODEL. What llama.cpp says goes to standard error."""

import sys

from cyllama import LLM, GenerationConfig

from steps import step

TOKENS = 16

config = GenerationConfig(n_gpu_layers=-1, n_ctx=512, max_tokens=TOKENS, seed=1)
model = LLM(sys.argv[1], config=config, verbose=True)
step("loaded")
step("generated", tokens=model.generate_with_stats("hello").stats.generated_tokens)
model.close()
